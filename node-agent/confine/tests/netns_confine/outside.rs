//! The worker as others see it.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use node_agent_confine::{Confinement, StartError, Step, facts, own_program};
use tempfile::TempDir;

/// A directory to write to, one to read, and one that is not shown.
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("confine")
            .tempdir()
            .unwrap();
        for name in ["state", "config", "hidden"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("config/config"), "configured").unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn confinement(&self) -> Confinement {
        Confinement {
            readable: vec![self.path("config")],
            writable: vec![self.path("state")],
            oom_score_adj: 700,
        }
    }
}

/// A worker, killed when dropped, and the link to it.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) link: UnixStream,
}

impl Worker {
    pub(crate) fn start(confinement: &Confinement, role: &[&str]) -> Result<Self, StartError> {
        let (link, theirs) = UnixStream::pair().unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = own_program();
        command.arg("role").args(role).stdout(Stdio::piped());
        let child = confinement.start(command, &[(theirs.as_fd(), 3)])?;
        Ok(Self { child, link })
    }

    /// Waits until it says that it is there.
    pub(crate) fn waiting(place: &Place) -> Self {
        let mut worker = Self::start(&place.confinement(), &["sealed", "wait"]).unwrap();
        worker.link.read_exact(&mut [0]).unwrap();
        worker
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    fn status(&self, key: &str) -> String {
        let status = self.file("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(":"));
        line.unwrap().trim().to_owned()
    }

    pub(crate) fn output(mut self) -> String {
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const NOTHING: &str = "0000000000000000";

pub(crate) fn what_the_kernel_says_of_a_worker() {
    let worker = Worker::waiting(&Place::new());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(worker.status(set), NOTHING, "{set}");
    }
    for (key, value) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "3"),
        ("Name", "ambient-worker"),
    ] {
        assert_eq!(worker.status(key), value, "{key}");
    }
    assert_eq!(worker.file("oom_score_adj"), "700\n");
    let limits = worker.file("limits");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>(),
        ["1", "1", "bytes"]
    );
}

pub(crate) fn it_sees_what_is_named_and_nothing_else() {
    let place = Place::new();
    let worker = Worker::waiting(&place);
    let mut seen = Vec::new();
    for line in worker.file("mountinfo").lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (point, options) = (fields[4], fields[5]);
        // Seen from outside, its root is ours no more, and its mounts begin with its root.
        seen.push((
            point.to_owned(),
            options.split(',').any(|option| option == "rw"),
        ));
        assert!(options.contains("nosuid"), "{line}");
    }
    let writable: Vec<_> = seen
        .iter()
        .filter(|(_, rw)| *rw)
        .map(|(point, _)| point.as_str())
        .collect();
    assert_eq!(writable, [place.path("state").to_str().unwrap()]);
    for point in [
        "/",
        "/proc/self",
        "/dev/null",
        place.path("config").to_str().unwrap(),
    ] {
        assert!(
            seen.iter().any(|(seen, _)| seen == point),
            "{point} in {seen:?}"
        );
    }
    let hidden = place.path("hidden");
    let paths = [
        "/etc/passwd",
        "/run",
        "/proc/1",
        hidden.to_str().unwrap(),
        "/dev/urandom",
    ];
    let role = [&["sealed", "look"][..], &paths].concat();
    let output = Worker::start(&place.confinement(), &role).unwrap().output();
    assert_eq!(output, "NotFound\nNotFound\nNotFound\nNotFound\nseen\n");
    for path in &paths[..4] {
        assert!(Path::new(path).exists(), "{path} is nothing to hide");
    }
}

pub(crate) fn it_does_its_work() {
    let place = Place::new();
    let (state, config) = (place.path("state"), place.path("config"));
    let role = [
        "sealed",
        "work",
        state.to_str().unwrap(),
        config.to_str().unwrap(),
    ];
    let mut worker = Worker::start(&place.confinement(), &role).unwrap();
    worker.link.read_exact(&mut [0]).unwrap();
    std::fs::write(place.path("config/new"), "configured").unwrap();
    std::fs::rename(place.path("config/new"), place.path("config/config")).unwrap();
    worker.link.write_all(b"d").unwrap();
    let here = std::thread::available_parallelism().unwrap();
    assert_eq!(worker.output(), format!("processors {here}\nworked\n"));
}

pub(crate) fn it_inherits_what_is_named_and_nothing_else() {
    let place = Place::new();
    // At the number of another, not close-on-exec, and in the way of what it shall get.
    let file = std::fs::File::open("/dev/null").unwrap();
    let stray = std::fs::File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(
        &stray,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let (mut link, theirs) = UnixStream::pair().unwrap();
    let keep = [(file.as_fd(), 7), (theirs.as_fd(), 3), (file.as_fd(), 4)];
    let mut command = own_program();
    command.args(["role", "sealed", "wait"]);
    let child = place.confinement().start(command, &keep).unwrap();
    let worker = Worker {
        child,
        link: link.try_clone().unwrap(),
    };
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link.read_exact(&mut [0]).unwrap();
    let directory = format!("/proc/{}/fd", worker.child.id());
    let mut numbers: Vec<i32> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 7]);
    for number in [4, 7] {
        let target = std::fs::read_link(format!("{directory}/{number}")).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    for keep in [
        [(file.as_fd(), 2), (file.as_fd(), 3)],
        [(file.as_fd(), 5); 2],
    ] {
        let refused = place.confinement().start(own_program(), &keep);
        assert!(matches!(refused, Err(StartError::Number(_))), "{refused:?}");
    }
}

/// Starts a worker with the link it inherited, and waits to be killed.
pub(crate) fn middle(directory: &Path) {
    let confinement = Confinement {
        writable: vec![directory.to_owned()],
        ..Confinement::default()
    };
    let mut command = own_program();
    command.args(["role", "sealed", "wait"]);
    let link = crate::work::link();
    let worker = confinement.start(command, &[(link.as_fd(), 3)]);
    while worker.is_ok() {
        std::thread::park();
    }
}

pub(crate) fn it_outlives_who_started_it() {
    let place = Place::new();
    let state = place.path("state");
    let (mut link, theirs) = UnixStream::pair().unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = own_program();
    command.args(["role", "unsealed", "middle", state.to_str().unwrap()]);
    // Only the descriptor is handed over here; the rest of the middle stays as it is.
    let mut child = inherit(command, &theirs);
    drop(theirs);
    link.read_exact(&mut [0]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    link.write_all(b"x").unwrap();
    let mut answer = [0];
    link.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"x");
}

/// An ordinary child with the link as descriptor 3.
fn inherit(mut command: std::process::Command, link: &UnixStream) -> Child {
    use std::os::unix::process::CommandExt as _;
    let link = link.try_clone().unwrap();
    // SAFETY: the closure makes one system call. The library's pipe is not in the way: the lowest
    // numbers are taken by the pair of which this is one end.
    unsafe {
        command.pre_exec(move || {
            let copied = libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&link), 3);
            if copied == 3 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    command.spawn().unwrap()
}

pub(crate) fn nobody_of_the_same_user_looks_into_it() {
    let place = Place::new();
    let showing = Confinement {
        readable: vec!["/proc".into()],
        ..Confinement::default()
    };
    let look = |worker: &Worker| {
        let memory = format!("/proc/{}/mem", worker.child.id());
        let role = ["unsealed", "look", &memory];
        Worker::start(&showing, &role).unwrap().output()
    };
    assert_eq!(look(&Worker::waiting(&place)), "PermissionDenied\n");
    // The control: the same process without the seal.
    let mut open = Worker::start(&place.confinement(), &["unsealed", "wait"]).unwrap();
    open.link.read_exact(&mut [0]).unwrap();
    assert_eq!(look(&open), "seen\n");
}

/// Gives some rights away and starts a worker; tells what it says of itself.
pub(crate) fn weak(keep: &str) {
    let keep = u64::from_str_radix(keep, 16).unwrap() & facts().unwrap().permitted;
    let [low, high] =
        [keep & u64::from(u32::MAX), keep >> 32].map(|half| u32::try_from(half).unwrap());
    let header = [0x2008_0522_u32, 0];
    let data = [low, low, 0, high, high, 0];
    // SAFETY: header and data have the layout of version 3.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(set, 0);
    match Worker::start(&Confinement::default(), &["sealed", "wait"]) {
        Ok(mut worker) => {
            worker.link.read_exact(&mut [0]).unwrap();
            let sets = [
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapAmb",
                "NoNewPrivs",
                "CapBnd",
            ];
            println!("{}", sets.map(|set| worker.status(set)).join(" "));
        }
        Err(StartError::Step { step, source, .. }) => println!("{step:?} {:?}", source.kind()),
        Err(error) => panic!("{error}"),
    }
}

fn weakened(without: u32) -> String {
    let keep = format!("{:x}", !(1_u64 << without));
    let mut command = own_program();
    let output = command
        .args(["role", "unsealed", "weak", &keep])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn without_the_right_to_set_rights_it_has_none_either() {
    const SETPCAP: u32 = 8;
    let told = weakened(SETPCAP);
    let sets: Vec<_> = told.split_whitespace().collect();
    assert_eq!(sets[..5], [NOTHING, NOTHING, NOTHING, NOTHING, "1"]);
    // The bounding set is what could not be emptied.
    assert_ne!(sets[5], NOTHING);
}

pub(crate) fn who_may_not_confine_is_told_the_step() {
    const SYS_ADMIN: u32 = 21;
    let told = weakened(SYS_ADMIN);
    assert_eq!(
        told,
        format!("{:?} PermissionDenied\n", Step::MountNamespace)
    );
}

pub(crate) fn what_is_not_there_cannot_be_shown() {
    let place = Place::new();
    let mut confinement = place.confinement();
    confinement.writable.push(place.path("missing"));
    let error = Worker::start(&confinement, &["sealed", "wait"])
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("missing cannot be shown to the worker"),
        "{error}"
    );
}
