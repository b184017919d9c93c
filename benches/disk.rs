//! What one flush costs: 4 KiB written over an existing file, then `fdatasync`. Every latency stands beside it.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::sample::Sample;

const PAGE: usize = 4096;

/// Flushes `count` times in `folder`.
pub(crate) fn flushes(folder: &Path, count: usize) -> Result<Sample> {
    let path = folder.join("flush");
    let mut file = std::fs::File::create(&path).context("make a file")?;
    file.write_all(&vec![0; PAGE * 256]).and_then(|()| file.sync_all()).context("fill the file")?;
    let mut sample = Sample::default();
    for number in 0..count {
        let page = vec![u8::try_from(number % 251).unwrap_or_default(); PAGE];
        let begun = Instant::now();
        file.seek(SeekFrom::Start((number % 256 * PAGE) as u64))
            .and_then(|_| file.write_all(&page))
            .and_then(|()| file.sync_data())
            .context("flush")?;
        sample.push(begun.elapsed());
    }
    std::fs::remove_file(path).context("remove the file")?;
    Ok(sample)
}
