//! Chains that were verified, so that the same bytes need not be verified again.
//!
//! What is remembered holds for the same leaf and intermediates, the same roots and the same use
//! (there is one memory for each of both), and while every certificate of the chain is valid: that
//! is all the verification depends on. Refusals are not remembered, nor is a chain before its owner has
//! shown to have the key, so that only members of the mesh can make this grow; and it is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::{CertificateDer, UnixTime};
use tunnel_model::Identity;

use crate::answer;
use crate::clock::unix;
use crate::trust::Beside;

/// Most bytes of certificates that one memory holds; some hundred chains.
const MOST: usize = 128 * 1024;

#[derive(Debug)]
struct Verified {
    intermediates: Vec<CertificateDer<'static>>,
    identity: Identity,
    first: UnixTime,
    last: UnixTime,
}

#[derive(Debug, Default)]
struct Kept {
    /// What was believed when all of `chains` was verified.
    beside: Beside,
    /// By the bytes of the leaf.
    chains: HashMap<Box<[u8]>, Verified>,
    bytes: usize,
}

/// Verified chains of peers in one role.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Kept>);

impl Remembered {
    /// Whose chain it is, if it was verified under the same roots and still holds.
    pub(crate) fn recall(
        &self,
        beside: &Beside,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Identity> {
        let kept = self.kept();
        let known = kept.chains.get(leaf.as_ref())?;
        let holds = Arc::ptr_eq(&kept.beside, beside)
            && known.intermediates == intermediates
            && (known.first..=known.last).contains(&now);
        holds.then(|| known.identity.clone())
    }

    /// A chain has been verified under these roots.
    pub(crate) fn keep(
        &self,
        beside: &Beside,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        identity: &Identity,
        now: UnixTime,
    ) {
        let size = leaf.len() + length(intermediates);
        if size > MOST / 8 {
            return;
        }
        let chain = std::iter::once(leaf).chain(intermediates);
        let Some((first, last)) =
            validity(chain).filter(|(first, last)| (first..=last).contains(&&now))
        else {
            return;
        };
        let verified = Verified {
            intermediates: intermediates
                .iter()
                .map(|der| der.clone().into_owned())
                .collect(),
            identity: identity.clone(),
            first,
            last,
        };
        let mut kept = self.kept();
        if let Some(former) = kept.chains.remove(leaf.as_ref()) {
            kept.bytes -= leaf.len() + length(&former.intermediates);
        }
        if !Arc::ptr_eq(&kept.beside, beside) || kept.bytes + size > MOST {
            // Those in use come back with their next tunnels.
            *kept = Kept {
                beside: Arc::clone(beside),
                ..Kept::default()
            };
        }
        kept.bytes += size;
        kept.chains.insert(leaf.as_ref().into(), verified);
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(chain: &[CertificateDer<'_>]) -> usize {
    chain.iter().map(|der| der.len()).sum()
}

/// When all of a chain is valid; nothing if one cannot be read.
fn validity<'c>(
    chain: impl Iterator<Item = &'c CertificateDer<'c>>,
) -> Option<(UnixTime, UnixTime)> {
    let mut whole: Option<(UnixTime, UnixTime)> = None;
    for der in chain {
        let facts = answer::facts(der).ok()?;
        let (first, last) = (unix(facts.not_before), unix(facts.not_after));
        whole = Some(whole.map_or((first, last), |(from, until)| {
            (from.max(first), until.min(last))
        }));
    }
    whole
}
