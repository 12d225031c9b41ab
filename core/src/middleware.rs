//! A reqwest-middleware layer that observes the calls made through it.
