//! What is in a file that somebody else may write, replace or make a pipe of at any moment. Used by every room that reads
//! such files beside the configuration.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading, if it is one: a pipe or a device could be waited on for ever. What was opened is looked at,
/// not what has the name: that may be another a moment later.
///
/// # Errors
///
/// Those of the system, and that it is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Without this, the opening of a pipe waits for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))
    }
}

/// The bytes of a file that has at most so many. No more is read of one that has more.
///
/// # Errors
///
/// Those of [`open_file`] and of the reading, and that it is larger.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_file(path)?.take(most.saturating_add(1));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn neither_a_pipe_nor_a_folder_nor_a_device_is_waited_on() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read_file(path, 10).unwrap_err();
            assert_eq!(error.to_string(), "it is no file", "{}", path.display());
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read_file(&path, 10).unwrap(), [7; 10]);
        let error = read_file(&path, 9).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 9 bytes");
        // 1 TiB of holes.
        let large = File::create(&path).unwrap();
        large.set_len(1 << 40).unwrap();
        assert!(read_file(&path, 10).is_err());
    }
}
