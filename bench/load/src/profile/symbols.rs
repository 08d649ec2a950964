//! Which source file an address of a program is from.

use std::fs;
use std::io;
use std::path::Path;

use addr2line::Loader;

/// A program with line tables.
pub struct Binary {
    loader: Loader,
    /// What is loaded: where in the file it begins, how long it is, and at which address.
    segments: Vec<(u64, u64, u64)>,
}

impl Binary {
    pub fn load(path: &Path) -> io::Result<Self> {
        let loader = Loader::new(path);
        let loader =
            loader.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        let segments = segments(&fs::read(path)?).ok_or_else(|| {
            io::Error::other(format!("{} is no ELF file of 64 bits", path.display()))
        })?;
        Ok(Self { loader, segments })
    }

    /// The address of a byte of the file.
    pub fn address(&self, offset: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        let (begin, _, address) =
            segments.find(|(begin, length, _)| (*begin..begin + length).contains(&offset))?;
        Some(offset - begin + address)
    }

    /// The files of the functions that this address is of: the innermost inlined one first.
    pub fn files(&self, address: u64) -> Vec<String> {
        let mut files = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let file = frame.location.and_then(|location| location.file);
                files.extend(file.map(str::to_owned));
            }
        }
        files
    }
}

/// The segments that are loaded, by the program header of a little-endian ELF file.
fn segments(file: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    const LOAD: u64 = 1;
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = file.get(at..at + width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u64::from(byte)),
        )
    };
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    let mut found = Vec::new();
    for header in 0..count {
        let at = (table + header * size) as usize;
        if number(at, 4)? == LOAD {
            found.push((
                number(at + 0x08, 8)?,
                number(at + 0x20, 8)?,
                number(at + 0x10, 8)?,
            ));
        }
    }
    Some(found)
}
