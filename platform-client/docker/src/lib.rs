//! Where units run: the platform's engine over the Docker API.
