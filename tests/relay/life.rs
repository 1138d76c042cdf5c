//! Drain, leases, readiness, keys.
