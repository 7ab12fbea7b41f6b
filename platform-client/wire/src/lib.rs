//! Bodies that the platform's API and its command line share.
