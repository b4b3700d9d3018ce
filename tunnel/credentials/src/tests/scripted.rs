//! A clock that follows the paused timers, and an authority that does as it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use crate::clock::WallClock;
use crate::key::Key;
use crate::test_authority::{LeafSpec, TestAuthority};
use crate::{
    CaError, CertificateAuthority, CredentialSettings, Credentials, SignedChain, Signing,
    SigningRequest,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The calendar runs with the timers, unless it is stepped.
#[derive(Debug)]
pub(super) struct PausedClock {
    base: SystemTime,
    start: Instant,
    stepped: AtomicI64,
}

impl PausedClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: SystemTime::now(),
            start: Instant::now(),
            stepped: AtomicI64::new(0),
        })
    }

    pub(super) fn step(&self, seconds: i64) {
        self.stepped.fetch_add(seconds, SeqCst);
    }
}

impl WallClock for PausedClock {
    fn now(&self) -> SystemTime {
        let stepped = u64::try_from(self.stepped.load(SeqCst)).unwrap();
        self.base + self.start.elapsed() + Duration::from_secs(stepped)
    }
}

/// What the authority does with one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Sign,
    SignFor(Duration),
    SignAfter(Duration),
    Refuse,
    Hang,
    Panic,
    OtherIdentity,
    TwoNames,
    Expired,
    NotYetValid,
    SlightlyAhead,
    OtherKey,
    OtherRoot,
    NoRoot,
    Empty,
    Garbage,
    NoClientUse,
    Authority,
}

pub(super) struct ScriptedCa {
    authority: TestAuthority,
    stranger: TestAuthority,
    clock: Arc<PausedClock>,
    script: Mutex<VecDeque<Step>>,
    otherwise: Mutex<Step>,
    pub(super) calls: Mutex<Vec<(Instant, String)>>,
    busy: AtomicUsize,
    pub(super) peak: AtomicUsize,
}

impl ScriptedCa {
    pub(super) fn new(script: &[Step], otherwise: Step) -> Arc<Self> {
        let clock = PausedClock::new();
        Arc::new(Self {
            authority: TestAuthority::with_clock("scripted", clock.clone()),
            stranger: TestAuthority::with_clock("stranger", clock.clone()),
            clock,
            script: Mutex::new(script.iter().copied().collect()),
            otherwise: Mutex::new(otherwise),
            calls: Mutex::default(),
            busy: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    pub(super) fn clock(&self) -> &Arc<PausedClock> {
        &self.clock
    }

    pub(super) fn continue_with(&self, step: Step) {
        self.script.lock().unwrap().clear();
        *self.otherwise.lock().unwrap() = step;
    }

    pub(super) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Starts the owner on this authority and its clock.
    pub(super) fn serve(self: &Arc<Self>) -> Credentials {
        let settings = CredentialSettings {
            ttl: HOUR,
            ..CredentialSettings::default()
        };
        self.serve_with(settings)
    }

    pub(super) fn serve_with(self: &Arc<Self>, mut settings: CredentialSettings) -> Credentials {
        settings.clock = self.clock.clone();
        let (credentials, owner) = Credentials::start(settings, self.clone());
        tokio::spawn(owner);
        credentials
    }

    async fn act(&self, step: Step, request: &SigningRequest) -> Result<SignedChain, CaError> {
        let now = self.clock.now();
        let mut spec = LeafSpec::named_at(request.identity.as_str(), now);
        spec.not_after = now + request.ttl;
        match step {
            Step::SignFor(life) => spec.not_after = now + life,
            Step::SignAfter(pause) => sleep(pause).await,
            Step::Refuse => return Err(CaError::Refused("told to".to_owned())),
            Step::Hang => std::future::pending().await,
            Step::Panic => panic!("told to"),
            Step::OtherIdentity => spec.uris = vec!["spiffe://cluster.local/ns/shop/sa/eve".into()],
            Step::TwoNames => spec
                .uris
                .push("spiffe://cluster.local/ns/shop/sa/eve".into()),
            Step::Expired => spec = spec.expired(),
            Step::NotYetValid => spec.not_before = now + Duration::from_secs(120),
            Step::SlightlyAhead => spec.not_before = now + Duration::from_secs(30),
            Step::NoClientUse => spec.client_auth = false,
            Step::Authority => spec.is_ca = true,
            Step::Sign
            | Step::OtherKey
            | Step::OtherRoot
            | Step::NoRoot
            | Step::Empty
            | Step::Garbage => {}
        }
        let mut csr = request.csr_pem.clone();
        if matches!(step, Step::OtherKey) {
            csr = Key::generate()
                .unwrap()
                .signing_request(&request.identity)
                .unwrap();
        }
        let mut answer = self.authority.answer(&csr, &spec);
        match step {
            Step::OtherRoot => answer.roots = vec![self.stranger.root()],
            Step::NoRoot => answer.roots.clear(),
            Step::Empty => answer.chain.clear(),
            Step::Garbage => answer.chain = vec![b"rubbish".to_vec().into()],
            _ => {}
        }
        Ok(answer)
    }
}

/// Counts out whatever way the request ends, be it by being dropped.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl CertificateAuthority for ScriptedCa {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        let whose = request.identity.to_string();
        self.calls.lock().unwrap().push((Instant::now(), whose));
        let step = self.script.lock().unwrap().pop_front();
        let step = step.unwrap_or(*self.otherwise.lock().unwrap());
        Box::pin(async move {
            self.peak
                .fetch_max(self.busy.fetch_add(1, SeqCst) + 1, SeqCst);
            let _busy = Busy(&self.busy);
            self.act(step, &request).await
        })
    }
}
