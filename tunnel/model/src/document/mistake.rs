use std::fmt;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where: `workloads[3] (uid) workloadIps`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// An entry of the document, written out only when there is something wrong with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) list: &'static str,
    pub(super) index: usize,
    pub(super) name: &'a str,
}

impl Entry<'_> {
    pub(super) fn mistake(&self, field: impl fmt::Display, what: impl fmt::Display) -> Mistake {
        let Self { list, index, name } = self;
        Mistake {
            place: format!("{list}[{index}] ({name}) {field}"),
            what: what.to_string(),
        }
    }
}

/// Where the mistakes of one entry go.
pub(super) struct Mistakes<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) found: &'a mut Vec<Mistake>,
}

impl Mistakes<'_> {
    pub(super) fn add(&mut self, field: impl fmt::Display, what: impl fmt::Display) {
        let mistake = self.entry.mistake(field, what);
        self.found.push(mistake);
    }

    /// The value, or its default with the mistake noted.
    pub(super) fn take<T: Default>(
        &mut self,
        field: impl fmt::Display,
        read: Result<T, String>,
    ) -> T {
        read.unwrap_or_else(|what| {
            self.add(field, what);
            T::default()
        })
    }

    /// All values that can be read, with the mistakes noted.
    pub(super) fn each<T, U>(
        &mut self,
        field: &str,
        values: &[T],
        mut read: impl FnMut(&T) -> Result<U, String>,
    ) -> Vec<U> {
        let mut good = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match read(value) {
                Ok(value) => good.push(value),
                Err(what) => self.add(format_args!("{field}[{index}]"), what),
            }
        }
        good
    }
}
