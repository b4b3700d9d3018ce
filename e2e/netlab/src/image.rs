//! The pods' image, written by hand: a Docker archive with one layer of static programs.

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The image's name: for sandboxes and containers alike.
pub(crate) const NAME: &str = "localhost/podkit:1";
/// The program's path in the image.
pub(crate) const PROGRAM: &str = "/podkit";
const BLOCK: usize = 512;

/// What a file of an image is made of.
#[derive(Clone, Debug)]
pub enum Content {
    /// A program, copied from this machine.
    Program(PathBuf),
    /// A text.
    Text(String),
}

/// An image with one layer, made by hand: no registry and no build tool is needed.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its whole name, with a tag.
    pub name: String,
    /// Its files by path, without a leading slash.
    pub files: Vec<(String, Content)>,
    /// What its containers run.
    pub entrypoint: Vec<String>,
    /// Arguments for it, unless a pod gives others.
    pub arguments: Vec<String>,
    /// As whom, in numbers, `USER:GROUP`; empty for root.
    pub user: String,
}

impl Image {
    /// An image with one static program, which is what it runs, as root.
    #[must_use]
    pub fn of(name: &str, program: &Path, path: &str) -> Self {
        let inside = path.trim_start_matches('/').to_owned();
        Self {
            name: name.to_owned(),
            files: vec![(inside, Content::Program(program.to_owned()))],
            entrypoint: vec![path.to_owned()],
            arguments: Vec::new(),
            user: String::new(),
        }
    }

    /// Writes the archive for `ctr images import`. The same files give the same bytes.
    ///
    /// # Errors
    /// A program cannot be read, or the archive not be written.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let layer = self.layer()?;
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.arguments,
                "User": self.user,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        }))?;
        let config_name = format!("{}.json", sha256(&config));
        let manifest =
            json!([{"Config": config_name, "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        let mut whole = Vec::with_capacity(layer.len() + 8 * BLOCK);
        entry(&mut whole, &config_name, 0o644, &config);
        entry(&mut whole, "layer.tar", 0o644, &layer);
        let manifest = serde_json::to_vec(&manifest)?;
        entry(&mut whole, "manifest.json", 0o644, &manifest);
        finish(&mut whole);
        std::fs::write(archive, whole).with_context(|| format!("writing {}", archive.display()))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Vec::new();
        for (path, content) in &self.files {
            match content {
                Content::Text(text) => entry(&mut layer, path, 0o644, text.as_bytes()),
                Content::Program(file) => {
                    let bytes = std::fs::read(file)
                        .with_context(|| format!("reading {}", file.display()))?;
                    entry(&mut layer, path, 0o755, &bytes);
                }
            }
        }
        finish(&mut layer);
        Ok(layer)
    }
}

/// Writes the archive of the lab's own image.
pub(crate) fn write(program: &Path, archive: &Path) -> Result<()> {
    let mut image = Image::of(NAME, program, PROGRAM);
    image.arguments.push("pause".to_owned());
    image.write(archive)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// One regular file in ustar format: a header block, then the content in whole blocks.
fn entry(tar: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    // The checksum is taken with spaces in its own place.
    put(148, "        ");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Two empty blocks end an archive.
fn finish(tar: &mut Vec<u8>) {
    tar.resize(tar.len() + 2 * BLOCK, 0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::process::Command;

    #[test]
    fn tar_reads_what_we_write() {
        let directory = tempfile::tempdir().unwrap();
        let (program, archive) = (directory.path().join("p"), directory.path().join("a.tar"));
        std::fs::write(&program, b"#!/bin/true\n").unwrap();
        super::write(&program, &archive).unwrap();
        let list = Command::new("tar")
            .arg("-tvf")
            .arg(&archive)
            .output()
            .unwrap();
        assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
        let text = String::from_utf8(list.stdout).unwrap();
        assert!(
            text.contains("layer.tar") && text.contains("manifest.json"),
            "{text}"
        );
        let mut unpack = Command::new("tar");
        unpack
            .arg("-C")
            .arg(directory.path())
            .arg("-xf")
            .arg(&archive);
        assert!(unpack.status().unwrap().success());
        let inner = Command::new("tar")
            .arg("-xOf")
            .arg(directory.path().join("layer.tar"))
            .arg("podkit")
            .output()
            .unwrap();
        assert_eq!(inner.stdout, b"#!/bin/true\n");
    }
}
