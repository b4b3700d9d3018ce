#![allow(clippy::unwrap_used, reason = "tests")]
use super::{AgentProcess, Part, agent_processes, end_agent_processes};
use crate::wait;
use anyhow::ensure;
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// A shell under the agent's name: a main process with a worker of its own and a fork without a program.
fn pretend(directory: &Path) -> Child {
    // By another process: a child that a neighbouring test starts would for a moment have the file open for writing if
    // this one had, and then nobody can execute it.
    let mut copy = Command::new("cp");
    copy.arg("/bin/sh").arg(directory.join("ambient-agent"));
    assert!(copy.status().unwrap().success());
    let config = directory.join("agent.yaml");
    let (worker, long) = ("read nothing < wait", "mkfifo wait 2>/dev/null");
    std::fs::write(directory.join("worker"), worker).unwrap();
    let main = format!(
        "{long}\n./ambient-agent worker {} &\n( read nothing < wait; : ) &\nread nothing < wait\n",
        config.display()
    );
    std::fs::write(directory.join("run"), main).unwrap();
    let mut command = Command::new("./ambient-agent");
    command.arg("run").arg(config).current_dir(directory);
    command.spawn().unwrap()
}

fn wait_for(directory: &Path, wanted: &[Part]) -> Vec<AgentProcess> {
    wait::until(&format!("{wanted:?}"), PATIENCE, || {
        let mut found = agent_processes(None, directory)?;
        found.sort_by_key(|one| one.part);
        let parts: Vec<Part> = found.iter().map(|one| one.part).collect();
        ensure!(parts == wanted, "{found:?}");
        Ok(found)
    })
    .unwrap()
}

#[test]
fn parts_are_told_apart_and_orphans_are_found_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut main = pretend(path);
    let all = wait_for(path, &[Part::Holder, Part::Worker, Part::Hand]);
    assert_eq!(all[0].id.pid, i32::try_from(main.id()).unwrap());
    assert_eq!(all[1].parent, all[0].id.pid);
    all[0].id.signal(Signal::SIGKILL).unwrap();
    main.wait().unwrap();
    // The fork has the main process's words, and now nobody who would tell that it is none.
    let orphans = wait_for(path, &[Part::Holder, Part::Worker]);
    assert_ne!(orphans[1].parent, all[0].id.pid);
    end_agent_processes(None, path, PATIENCE).unwrap();
    assert_eq!(agent_processes(None, path).unwrap(), []);
}
