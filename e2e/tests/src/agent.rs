//! The shipped agent as a process in a namespace of its own.

use crate::mesh::Mesh;
use crate::netns::Netns;
use crate::world::World;
use crate::{Call, PATIENCE, Pod, programs, until};
use anyhow::{Context, Result, bail, ensure};
use e2e_netlab::log::{AccessLine, access_lines};
use e2e_netlab::wait::Hopeless;
use e2e_netlab::{AgentProcess, agent_processes, end_agent_processes, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// An agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    netns: Netns,
    directory: PathBuf,
    child: Child,
}

impl Agent {
    /// Configures one with a directory of its own and starts it. `settings` wins over what all agents here have.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(world: &World, name: &str, mesh: &Mesh, settings: &Value) -> Result<Self> {
        Self::start_beside(world, name, mesh, settings, |_netns| Ok(()))
    }

    /// The same, after `beside` has put something into the agent's namespace. A setting that is null is left out.
    ///
    /// # Errors
    /// As [`start`](Self::start), or of `beside`.
    pub fn start_beside(
        world: &World,
        name: &str,
        mesh: &Mesh,
        settings: &Value,
        beside: impl FnOnce(&Netns) -> Result<()>,
    ) -> Result<Self> {
        let directory = world.directory().join(name);
        std::fs::create_dir_all(directory.join("state"))?;
        mesh.write(&directory)?;
        configure(world, &directory, settings)?;
        let netns = Netns::create(name)?;
        beside(&netns)?;
        let child = spawn(&netns, &directory)?;
        let mut agent = Self {
            netns,
            directory,
            child,
        };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// One for each of two nodes, `node-a` and `node-b`, which has taken its pod in.
    ///
    /// # Errors
    /// As [`start`](Self::start), or a pod is not taken in.
    pub fn of_two_nodes(
        world: &World,
        mesh: &Mesh,
        settings: &Value,
        pods: [&Pod; 2],
    ) -> Result<[Self; 2]> {
        let agents = [
            Self::start(world, "node-a", mesh, settings)?,
            Self::start(world, "node-b", mesh, settings)?,
        ];
        for (agent, pod) in agents.iter().zip(pods) {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        Ok(agents)
    }

    /// Starts it again after its end.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.netns, &self.directory)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        until("the agent is ready", || {
            if let Some(status) = self.child.try_wait()? {
                bail!(Hopeless(format!("it ended ({status}):\n{}", self.log())));
            }
            let body = self.get(15021, "/healthz/ready")?;
            ensure!(body.starts_with("HTTP/1.1 200"), "it answers {body}");
            Ok(())
        })
    }

    /// Sends a signal that ends nobody to all its processes (SIGSTOP, SIGCONT).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let all = self.processes()?;
        all.iter().try_for_each(|one| one.id.signal(signal))
    }

    /// Ends it with all its processes: SIGTERM and its drain, or at once with SIGKILL. How the main one ended.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill(self.process()?, signal)?;
        let child = &mut self.child;
        let status = until("the agent's end", || child.try_wait()?.context("it runs"))?;
        if signal == Signal::SIGKILL {
            end_agent_processes(Some(self.netns.path()), &self.directory, PATIENCE)?;
        }
        until("the end of its other processes", || {
            let left = self.processes()?;
            ensure!(left.is_empty(), "these run: {left:?}");
            Ok(())
        })?;
        // A process whose first thread is gone may have others that hold its sockets for a moment.
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 15000));
        until("the end of its listeners", || {
            let connected = self.netns.run(|| TcpStream::connect(port))?;
            ensure!(connected.is_err(), "somebody listens on {port}");
            Ok(())
        })?;
        Ok(status)
    }

    /// All its processes.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<AgentProcess>> {
        agent_processes(Some(self.netns.path()), &self.directory)
    }

    /// Where its sites are.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its main process's number.
    ///
    /// # Errors
    /// Numbers are larger than the kernel's.
    pub fn process(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// The socket that the plugin calls.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// Tells it about another mesh; waits for no effect.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn tell(&self, mesh: &Mesh) -> Result<()> {
        mesh.write(&self.directory)
    }

    /// All it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read(self.directory.join("agent.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until a line of its log has all these texts, and gives the line.
    ///
    /// # Errors
    /// No line has; the error holds the end of the log.
    pub fn wait_for_log(&self, texts: &[&str]) -> Result<String> {
        until(&format!("the agent says {texts:?}"), || {
            let log = self.log();
            let found = log
                .lines()
                .find(|line| texts.iter().all(|text| line.contains(text)));
            found.map(str::to_owned).with_context(|| {
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(12)..].join("\n");
                format!("its log ends with:\n{end}")
            })
        })
    }

    /// Waits for an access line.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_for_access(
        &self,
        what: &str,
        wanted: impl Fn(&AccessLine) -> bool,
    ) -> Result<AccessLine> {
        until(&format!("an access line: {what}"), || {
            let lines = access_lines(&self.log());
            let found = lines.iter().find(|line| wanted(line)).cloned();
            found.with_context(|| {
                let last = &lines[lines.len().saturating_sub(6)..];
                format!("the last of {} lines: {last:#?}", lines.len())
            })
        })
    }

    /// Its dump of what it knows.
    ///
    /// # Errors
    /// It does not answer.
    pub fn dump(&self) -> Result<Value> {
        let answer = self.get(15000, "/config_dump")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        serde_json::from_str(body).with_context(|| format!("the dump: {answer}"))
    }

    /// What it tells an operator who asks for its status.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<String> {
        let mut command = self.netns.command(programs::ours("ambient-agent")?)?;
        run(command.args(["status", "--address", "127.0.0.1:15000"]))
    }

    /// What it tells an operator who asks about a pod.
    ///
    /// # Errors
    /// It does not answer.
    pub fn explain(&self, pod: &str) -> Result<String> {
        let mut command = self.netns.command(programs::ours("ambient-agent")?)?;
        run(command.args(["explain", pod, "--address", "127.0.0.1:15000"]))
    }

    /// The stage of a pod as it sees it, if it knows the pod.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stage(&self, container: &str) -> Result<Option<String>> {
        let dump = self.dump()?;
        let pods = dump["pods"].as_array().context("no pods in the dump")?;
        let mut ours = pods.iter().filter(|pod| pod["containerId"] == container);
        Ok(ours
            .next()
            .and_then(|pod| Some(pod["stage"].as_str()?.to_owned())))
    }

    /// Its metrics.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String> {
        self.get(15020, "/metrics")
    }

    /// Resident bytes of all its processes.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for one in self.processes()? {
            let text = std::fs::read_to_string(format!("/proc/{}/status", one.id.pid))?;
            let line = text.lines().find(|line| line.starts_with("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            sum += kib.context("no VmRSS")?.parse::<u64>()? * 1024;
        }
        ensure!(sum > 0, "it has ended");
        Ok(sum)
    }

    /// What each open descriptor of its processes stands for.
    ///
    /// # Errors
    /// It has ended.
    pub fn descriptors(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for one in self.processes()? {
            all.extend(one.id.descriptors()?);
        }
        all.sort();
        Ok(all)
    }

    /// The text of the state that it would read when it starts again.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.directory.join("state/pods.json"),
        )?)
    }

    /// The names of its state files.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn state_files(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.directory.join("state"))? {
            all.push(entry?.file_name().to_string_lossy().into_owned());
        }
        all.sort();
        Ok(all)
    }

    fn get(&self, port: u16, path: &str) -> Result<String> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let limit = Duration::from_secs(5);
        let mut stream = self
            .netns
            .run(|| TcpStream::connect_timeout(&to, limit))??;
        stream.set_read_timeout(Some(limit))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL too; one that has ended is no error.
        drop(self.child.kill());
        drop(self.child.wait());
        // Should this fail, the next run's sweep tries again.
        drop(end_agent_processes(
            Some(self.netns.path()),
            &self.directory,
            PATIENCE,
        ));
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(12)..].join("\n");
            // Nobody can be told if standard error is closed.
            drop(writeln!(
                std::io::stderr(),
                "the agent's log ends with:\n{end}"
            ));
        }
    }
}

fn configure(world: &World, directory: &Path, settings: &Value) -> Result<()> {
    let mut all = json!({
        "node": "node",
        "trustDomain": "cluster.local",
        "socket": directory.join("agent.sock"),
        "holderSocket": directory.join("holder.sock"),
        "stateDir": directory.join("state"),
        "podsFile": directory.join("pods.yaml"),
        "meshFile": directory.join("mesh.yaml"),
        "development": true,
        "developmentCaCert": world.ca_certificate(),
        "developmentCaKey": world.ca_key(),
        "metricsAddress": "127.0.0.1:15020",
        "readinessAddress": "127.0.0.1:15021",
        "logLevel": "info",
    });
    if let (Some(all), Some(own)) = (all.as_object_mut(), settings.as_object()) {
        all.extend(own.clone());
    }
    let file = directory.join("agent.yaml");
    Ok(std::fs::write(file, serde_json::to_vec_pretty(&all)?)?)
}

fn spawn(netns: &Netns, directory: &Path) -> Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("agent.log"))?;
    let mut command = netns.command(programs::ours("ambient-agent")?)?;
    command
        .args(["run", "--config"])
        .arg(directory.join("agent.yaml"));
    command.stdin(std::process::Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().context("starting the agent")
}

/// How long something took, in words.
#[must_use]
pub fn since(began: Instant) -> String {
    format!("{:.0?}", began.elapsed())
}
