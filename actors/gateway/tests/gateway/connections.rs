//! How connections live.
