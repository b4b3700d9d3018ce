//! Looks into an agent's processes, and takes away what they live on: descriptors, disk, memory.

use crate::{Agent, until};
use anyhow::{Context, Result, bail, ensure};
use e2e_netlab::{Part, ProcessId, find_program, run};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one process of an agent that plays a part; waits while there are none or several.
///
/// # Errors
/// It stays so.
pub fn only(agent: &Agent, part: Part) -> Result<ProcessId> {
    until(&format!("one {part:?}"), || {
        let mut those = agent.processes()?;
        those.retain(|one| one.part == part);
        ensure!(those.len() == 1, "there are {those:?}");
        Ok(those[0].id)
    })
}

/// Stops a process and waits until no thread of it runs any more.
///
/// # Errors
/// It does not stop, or has ended.
pub fn halt(process: ProcessId) -> Result<()> {
    process.signal(Signal::SIGSTOP)?;
    let threads = format!("/proc/{}/task", process.pid);
    until("all threads have stopped", || {
        for thread in std::fs::read_dir(&threads)? {
            let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
            let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
            ensure!(state == Some("T"), "{stat}");
        }
        Ok(())
    })
}

/// A line of `/proc/PID/status`.
///
/// # Errors
/// There is none, or the process has ended.
pub fn status(process: ProcessId, key: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    let found = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == key);
    let (_, value) = found.with_context(|| format!("no {key}"))?;
    Ok(value.trim().to_owned())
}

/// Where a process may write, of the mounts that it sees.
///
/// # Errors
/// It has ended.
pub fn writable_mounts(process: ProcessId) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", process.pid))?;
    let mut all = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = fields.next().zip(fields.next()).context("short line")?;
        if options.split(',').any(|option| option == "rw") {
            all.push(PathBuf::from(point));
        }
    }
    Ok(all)
}

/// How often any of the needles is in the memory of a process.
///
/// # Errors
/// The memory cannot be read.
pub fn occurrences(process: ProcessId, needles: &[Vec<u8>]) -> Result<usize> {
    const PIECE: usize = 1 << 20;
    let longest = needles.iter().map(Vec::len).max().unwrap_or_default();
    ensure!(longest > 0 && needles.iter().all(|needle| needle.len() > 15));
    let memory = File::open(format!("/proc/{}/mem", process.pid)).context("its memory")?;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid))?;
    let mut count = 0;
    let mut seen = 0;
    for line in maps.lines() {
        let Some((mut at, end)) = readable(line) else {
            continue;
        };
        while at < end {
            // One needle may lie across two pieces; what is read twice is not counted twice.
            let wanted = usize::try_from(end - at)?.min(PIECE + longest - 1);
            let mut piece = vec![0; wanted];
            // What was mapped a moment ago may be gone.
            if memory.read_exact_at(&mut piece, at).is_err() {
                break;
            }
            seen += wanted;
            count += needles
                .iter()
                .map(|needle| find(&piece, needle, PIECE))
                .sum::<usize>();
            at += PIECE as u64;
        }
    }
    ensure!(seen > PIECE, "only {seen} bytes of its memory can be read");
    Ok(count)
}

/// The addresses of a line of `/proc/PID/maps`, unless nobody may read there.
fn readable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vsyscall]") {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    number(from).zip(number(to))
}

/// Beginnings before `before`.
fn find(text: &[u8], needle: &[u8], before: usize) -> usize {
    let (first, mut at, mut count) = (needle[0], 0, 0);
    while let Some(step) = text[at..].iter().position(|byte| *byte == first) {
        at += step;
        if at >= before {
            break;
        }
        count += usize::from(text[at..].starts_with(needle));
        at += 1;
    }
    count
}

/// What a private key of the development authority looks like in memory: the document, and its
/// secret number in either order of bytes.
///
/// # Errors
/// The file has no such key.
pub fn shapes_of_key(file: &Path) -> Result<Vec<Vec<u8>>> {
    use rustls_pki_types::PrivatePkcs8KeyDer;
    use rustls_pki_types::pem::PemObject;
    const BEFORE_NUMBER: [u8; 5] = [2, 1, 1, 4, 32];
    let key = PrivatePkcs8KeyDer::from_pem_file(file).context("the key's file")?;
    let document = key.secret_pkcs8_der();
    let at = document
        .windows(BEFORE_NUMBER.len())
        .position(|window| window == BEFORE_NUMBER)
        .context("not a key on P-256")?
        + BEFORE_NUMBER.len();
    let number = document.get(at..at + 32).context("short")?.to_vec();
    let reversed = number.iter().rev().copied().collect();
    Ok(vec![document.to_vec(), number, reversed])
}

/// A process that gets as good as no descriptor beyond those it has, until this is dropped.
#[derive(Debug)]
pub struct NoDescriptors {
    process: ProcessId,
    before: String,
}

impl NoDescriptors {
    /// Takes them away.
    ///
    /// # Errors
    /// It has ended, or `prlimit` is not installed.
    pub fn impose(process: ProcessId) -> Result<Self> {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid))?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next());
        let before = soft.context("no limit")?.to_owned();
        let open = process.descriptors()?.len();
        set_descriptor_limit(process, &open.to_string())?;
        Ok(Self { process, before })
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        // Its end is no error.
        let _ended = set_descriptor_limit(self.process, &self.before);
    }
}

/// Sets the soft limit of a process on descriptors.
///
/// # Errors
/// It has ended, or `prlimit` is not installed.
pub fn set_descriptor_limit(process: ProcessId, soft: &str) -> Result<()> {
    let mut command = Command::new(find_program("prlimit")?);
    command.args(["--pid", &process.pid.to_string()]);
    run(command.arg(format!("--nofile={soft}:"))).map(drop)
}

/// A small file system in memory, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Makes it at a directory that it creates.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir(path)?;
        let options = Some("size=256k,mode=0700");
        let flags = MsFlags::empty();
        mount(Some("small"), path, Some("tmpfs"), flags, options).context("mounting a tmpfs")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    /// It never becomes full.
    pub fn fill(&self) -> Result<()> {
        for number in 0..1024 {
            match std::fs::write(self.path.join(format!("filler-{number}")), [1; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        bail!("it does not become full")
    }

    /// Makes room again.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("filler-") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Should this fail, the directory cannot be removed either, which is told.
        let _told = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// A control group with little memory, of either version of the kernel's interface.
#[derive(Debug)]
pub struct LittleMemory {
    path: PathBuf,
    limit: &'static str,
}

impl LittleMemory {
    /// Makes it, without a limit yet.
    ///
    /// # Errors
    /// There is no memory controller.
    pub fn new() -> Result<Self> {
        let name = format!("ame-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let second = Path::new("/sys/fs/cgroup");
        let made = if first.join("memory.limit_in_bytes").exists() {
            Self {
                path: first.join(name),
                limit: "memory.limit_in_bytes",
            }
        } else {
            std::fs::write(second.join("cgroup.subtree_control"), "+memory")
                .context("no memory controller")?;
            Self {
                path: second.join(name),
                limit: "memory.max",
            }
        };
        std::fs::create_dir(&made.path)?;
        Ok(made)
    }

    /// Puts a process in. What it takes from now on counts.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn confine(&self, process: ProcessId, bytes: u64) -> Result<()> {
        std::fs::write(self.path.join(self.limit), bytes.to_string())?;
        std::fs::write(self.path.join("cgroup.procs"), process.pid.to_string())?;
        Ok(())
    }

    /// Whether a process is in it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(std::fs::read_to_string(self.path.join("cgroup.procs"))?.is_empty())
    }
}

impl Drop for LittleMemory {
    fn drop(&mut self) {
        // A group with a process in it cannot be removed.
        let inside = std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for process in inside.lines() {
            drop(std::fs::write(self.path.join("../cgroup.procs"), process));
        }
        drop(std::fs::remove_dir(&self.path));
    }
}
