//! Which model a session stays on, so that the provider's prompt cache stays warm.
