//! Desired state against what the kernel holds.
