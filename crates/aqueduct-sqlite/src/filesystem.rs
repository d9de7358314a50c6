use std::path::Path;

use aqueduct_core::{Error, Result};

/// Refuses folders on a network: the shared memory of the WAL and file locks do not work between
/// machines, and SQLite would damage the file without a word.
pub(crate) fn check_local(folder: &Path) -> Result<()> {
    match network_name(folder) {
        None => Ok(()),
        Some(name) => Err(refusal(folder, name)),
    }
}

fn refusal(folder: &Path, name: &str) -> Error {
    Error::config(format!(
        "{}: is on a network file system ({name}), where several machines would damage the file; \
         use a local folder, or say network = \"allow\" where one machine alone uses it",
        folder.display()
    ))
}

/// Returns whether this process may write to the file, without opening it.
#[cfg(target_os = "linux")]
pub(crate) fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_writable(_: &Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn network_name(folder: &Path) -> Option<&'static str> {
    // If the kernel does not say, opening the file will show it.
    let known = rustix::fs::statfs(folder).ok()?;
    name_of(known.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn network_name(_: &Path) -> Option<&'static str> {
    None
}

/// The network file systems among `statfs`' types (linux/magic.h). FUSE is among them since sshfs,
/// s3fs and gluster are, and do not say so.
#[cfg(any(target_os = "linux", test))]
fn name_of(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x0102_1997 => "9P",
        0x00C3_6400 => "Ceph",
        0x5346_414F => "AFS",
        0x7375_7245 => "Coda",
        0x0BD0_0BD0 => "Lustre",
        0x786F_4256 => "VirtualBox shared folder",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_known_by_name_and_local_folders_pass() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xFE53_4D42), Some("SMB2"));
        assert_eq!(name_of(0xEF53), None, "ext4");
        assert_eq!(name_of(0x0102_1994), None, "tmpfs");
        let folder = tempfile::tempdir().unwrap();
        check_local(folder.path()).unwrap();
        let error = refusal(Path::new("/mnt/share"), "NFS").to_string();
        assert!(
            error.contains("/mnt/share") && error.contains("NFS") && error.contains("network"),
            "{error}"
        );
    }
}
