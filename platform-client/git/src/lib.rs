//! git push over HTTP, in front of git itself.
