//! The Node binding: it only translates.
