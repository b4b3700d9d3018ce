use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

/// Room for many events with the longest names.
const BUFFER: usize = 16 * 1024;

/// Watches the directory of a file, and, if the file is a link, the directory it leads to.
///
/// The directory rather than the file, because editors and volume mounts replace files: a watch
/// on the old one would never speak again.
#[derive(Debug)]
pub(super) struct DirectoryWatch {
    inotify: AsyncFd<Inotify>,
    path: PathBuf,
    directory: Place,
    target: Option<Place>,
    gone: bool,
}

#[derive(Debug)]
struct Place {
    watch: WatchDescriptor,
    directory: PathBuf,
    file: OsString,
}

impl Place {
    fn of(inotify: &Inotify, path: &Path) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let file = path
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_owned();
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let watch = inotify.watches().add(&directory, mask)?;
        Ok(Self {
            watch,
            directory,
            file,
        })
    }

    fn names(&self, event: &Event<&std::ffi::OsStr>) -> bool {
        event.wd == self.watch && event.name == Some(&*self.file)
    }
}

/// What a batch of events comes to.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    named: bool,
    gone: bool,
}

impl DirectoryWatch {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let directory = Place::of(&inotify, path)?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe for the sake of types that close or change their \
                      descriptor; this one owns its descriptor until it is dropped"
        )]
        let inotify = AsyncFd::new(inotify)?;
        let mut watch = Self {
            inotify,
            path: path.to_owned(),
            directory,
            target: None,
            gone: false,
        };
        watch.follow_link()?;
        Ok(watch)
    }

    /// Watches where the file leads now.
    pub(super) fn follow_link(&mut self) -> io::Result<()> {
        // A link to nowhere is watched where it is; it has to change to lead anywhere.
        let target = std::fs::canonicalize(&self.path).ok();
        let beside = |target: &PathBuf| target.parent() != canonical(&self.directory).as_deref();
        let target = target.filter(beside);
        let known = self
            .target
            .as_ref()
            .map(|place| place.directory.join(&place.file));
        if target == known {
            return Ok(());
        }
        if let Some(old) = self.target.take() {
            // Gone already if its directory is.
            let _gone = self.inotify.get_ref().watches().remove(old.watch);
        }
        if let Some(target) = target {
            self.target = Some(Place::of(self.inotify.get_ref(), &target)?);
        }
        Ok(())
    }

    /// Waits for something to happen around the file, and says whether it happened to it by name.
    /// Cancelling the wait loses nothing.
    pub(super) async fn changed(&mut self) -> io::Result<bool> {
        while !self.gone {
            let mut ready = self.inotify.readable_mut().await?;
            let mut buffer = [0; BUFFER];
            let read = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(&mut buffer)?;
                Ok(sum(events, &self.directory, self.target.as_ref()))
            });
            match read {
                Ok(Ok(seen)) if seen.gone => self.gone = true,
                Ok(Ok(seen)) => return Ok(seen.named),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the directory is gone",
        ))
    }

    /// Takes what has happened since without waiting, so that many changes make one reading.
    pub(super) fn drain(&mut self) -> bool {
        let mut named = false;
        let mut buffer = [0; BUFFER];
        while let Ok(events) = self.inotify.get_mut().read_events(&mut buffer) {
            let seen = sum(events, &self.directory, self.target.as_ref());
            named |= seen.named;
            self.gone |= seen.gone;
        }
        named
    }
}

fn canonical(place: &Place) -> Option<PathBuf> {
    std::fs::canonicalize(&place.directory).ok()
}

fn sum(events: inotify::Events<'_>, directory: &Place, target: Option<&Place>) -> Seen {
    let mut seen = Seen::default();
    for event in events {
        let overflow = event.mask.contains(EventMask::Q_OVERFLOW);
        let by_name = directory.names(&event) || target.is_some_and(|place| place.names(&event));
        seen.named |= overflow || by_name;
        let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
        seen.gone |= event.wd == directory.watch && event.mask.intersects(gone);
    }
    seen
}
