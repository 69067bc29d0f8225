//! What the targets share: a gate without sockets whose upstream says whatever a target wants it to say, what must hold
//! of everything that the gate answers, and a file for what is only read from files.

pub mod answers;
mod gate;
pub mod signed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use gate::{Gate, Said, Steered, config};

/// The names and addresses in a text, or what looks like one.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_whitespace() || ",;{}\"()#".contains(letter))
        .filter(|word| !word.is_empty() && word.len() < 256)
}

/// A file of this process with these bytes.
///
/// # Panics
///
/// Where it cannot be written.
pub fn file(bytes: &[u8]) -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let path = FILE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        folder.join(format!("sekisho-fuzz-{}", std::process::id()))
    });
    fs::write(path, bytes).expect("a file can be written");
    path
}
