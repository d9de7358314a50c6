use std::time::Duration;

/// Time on a clock of the machine that goes on while the machine is suspended: a lease must not
/// look alive to its owner because its laptop slept.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn uptime() -> Duration {
    read(rustix::time::ClockId::Boottime)
}

/// On Apple's systems the monotonic clock itself counts suspension.
#[cfg(target_vendor = "apple")]
pub(crate) fn uptime() -> Duration {
    read(rustix::time::ClockId::Monotonic)
}

/// On Windows the performance counter behind `Instant` counts suspension.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) fn uptime() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
