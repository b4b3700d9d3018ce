//! Why a node's configuration is left as it is.

/// The configuration directory is left alone; somebody else's doing ends it, and then it is tried
/// again by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to stand behind yet. The primary plugin's installer writes it in its time.
    #[error(
        "no network configuration to join: {}; waiting for the primary network plugin to write one{}",
        wanted.as_ref().map_or_else(
            || "the directory has no usable file".to_owned(),
            |name| format!("{name} (cniPrimaryName) is not there"),
        ),
        passed_over(skipped)
    )]
    NoPrimary {
        /// The file that has to be it.
        wanted: Option<String>,
        /// What is there and no use, with the reason.
        skipped: Vec<(String, String)>,
    },
    /// The file that has to be joined is none.
    #[error("{file} (cniPrimaryName) cannot be joined: {why}; correct it, or name another file")]
    Invalid {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was written a moment ago and is not whole yet.
    #[error("{file} is being written")]
    Unfinished {
        /// The file.
        file: String,
    },
    /// The runtime can read it and we cannot.
    #[error(
        "{file} cannot be read ({why}), and the runtime may use it: make it readable for the \
         installer, mount what it points to, or name another file with cniPrimaryName"
    )]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// It can be understood in more than one way.
    #[error(
        "{file} is left alone, as it can be understood in more than one way: {why}; correct it, or \
         name another file with cniPrimaryName"
    )]
    Unclear {
        /// The file.
        file: String,
        /// In what respect.
        why: String,
    },
    /// Our plugin does not speak its version.
    #[error(
        "{file} is left alone: its cniVersion is {found}, and ambient-cni speaks 0.3.0 to 1.1.0; \
         set another one in the primary plugin's configuration"
    )]
    Version {
        /// The file.
        file: String,
        /// What it declares.
        found: String,
    },
    /// The list that would be made of it has a name that is taken.
    #[error(
        "{file} is left alone: a list made of it would be {list}, which is somebody else's; remove \
         the one that is not used, or set cniMode: owned"
    )]
    Taken {
        /// The file.
        file: String,
        /// The other.
        list: String,
    },
    /// It lies elsewhere, under a name that cannot be changed.
    #[error(
        "{file} is left alone: it is a link, and no list can be put in its place; set cniMode: owned"
    )]
    Linked {
        /// The file.
        file: String,
    },
    /// Our own file would never be used.
    #[error(
        "{own} would not be used: the runtime takes the first file, {primary}; give cniConflistName \
         a name that sorts before it, or set cniMode: chained"
    )]
    NotFirst {
        /// Our file.
        own: String,
        /// The first.
        primary: String,
    },
    /// Our own file's name is taken.
    #[error(
        "{own} is somebody else's: it does not name ambient-cni; remove it, or set another \
         cniConflistName"
    )]
    Occupied {
        /// The file.
        own: String,
    },
}

fn passed_over(skipped: &[(String, String)]) -> String {
    let list: Vec<String> = skipped
        .iter()
        .map(|(file, why)| format!("{file}: {why}"))
        .collect();
    if list.is_empty() {
        String::new()
    } else {
        format!(" (passed over: {})", list.join("; "))
    }
}
