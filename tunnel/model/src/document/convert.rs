use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::{Interner, MeshState, Policy, Service, Workload};

use super::mistake::{Entry, Mistake, Mistakes};
use super::shape::{Document, PolicyDocument, ServiceDocument, WorkloadDocument};
use super::{policy, service, workload};

impl Document {
    /// The state the document describes, all of it or nothing.
    ///
    /// # Errors
    /// Every mistake in the document, each with its place.
    pub fn into_state(self) -> Result<MeshState, Vec<Mistake>> {
        let mut reader = Reader::default();
        // Each list is let go of as soon as it is read: documents can be large.
        let workloads = reader.workloads(self.workloads.unwrap_or_default());
        let services = reader.services(&self.services.unwrap_or_default());
        let policies = reader.policies(&self.policies.unwrap_or_default());
        if reader.mistakes.is_empty() {
            Ok(MeshState {
                workloads,
                services,
                policies,
            })
        } else {
            Err(reader.mistakes)
        }
    }
}

impl TryFrom<Document> for MeshState {
    type Error = Vec<Mistake>;

    fn try_from(document: Document) -> Result<Self, Vec<Mistake>> {
        document.into_state()
    }
}

#[derive(Default)]
struct Reader {
    interner: Interner,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn workloads(&mut self, documents: Vec<WorkloadDocument>) -> Vec<Arc<Workload>> {
        let mut seen = HashMap::with_capacity(documents.len());
        let mut workloads = Vec::with_capacity(documents.len());
        for (index, document) in documents.into_iter().enumerate() {
            let entry = Entry {
                list: "workloads",
                index,
                name: &document.uid,
            };
            let mut mistakes = Mistakes {
                entry,
                found: &mut self.mistakes,
            };
            let Some(read) = workload::read(&document, &mut self.interner, &mut mistakes) else {
                continue;
            };
            note_twice(&mut seen, Arc::clone(&read.uid), "uid", &mut mistakes);
            workloads.push(Arc::new(read));
        }
        workloads
    }

    fn services(&mut self, documents: &[ServiceDocument]) -> Vec<Arc<Service>> {
        let mut seen = HashMap::with_capacity(documents.len());
        let mut services = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            let entry = Entry {
                list: "services",
                index,
                name: &document.hostname,
            };
            let mut mistakes = Mistakes {
                entry,
                found: &mut self.mistakes,
            };
            let read = service::read(document, &mut self.interner, &mut mistakes);
            note_twice(&mut seen, read.key(), "namespace, hostname", &mut mistakes);
            services.push(Arc::new(read));
        }
        services
    }

    fn policies(&mut self, documents: &[PolicyDocument]) -> Vec<Arc<Policy>> {
        let mut seen = HashMap::with_capacity(documents.len());
        let mut policies = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            let entry = Entry {
                list: "policies",
                index,
                name: &document.name,
            };
            let mut mistakes = Mistakes {
                entry,
                found: &mut self.mistakes,
            };
            let read = policy::read(document, &mut self.interner, &mut mistakes);
            note_twice(&mut seen, read.key(), "namespace, name", &mut mistakes);
            policies.push(Arc::new(read));
        }
        policies
    }
}

/// Two entries of one name: which one was meant cannot be known.
fn note_twice<K: Eq + Hash>(
    seen: &mut HashMap<K, usize>,
    key: K,
    field: &str,
    mistakes: &mut Mistakes<'_>,
) {
    let index = mistakes.entry.index;
    let first = *seen.entry(key).or_insert(index);
    if first != index {
        mistakes.add(field, format_args!("is the same as that of entry {first}"));
    }
}
