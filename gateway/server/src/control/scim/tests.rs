//! Provisioning over HTTP: who gets in, what comes back, what identity providers send.
