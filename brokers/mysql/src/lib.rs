//! A service broker that hands out MySQL and MariaDB databases.
