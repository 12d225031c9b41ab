//! Asking for usage in streams, and hiding the answer from a caller who did not ask.
