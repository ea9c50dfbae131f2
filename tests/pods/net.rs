//! Several hosts on this machine: network namespaces behind one switch, whose links can be cut by pair.
//! In: hosts by number. Out: processes in them. Never: a namespace left behind, or a cut that says so:
//! packets vanish, as in a real network. Needs root and `ip`.

use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

/// Nobody has it: what is sent there is lost.
const NOBODY: &str = "02:00:00:00:00:01";

/// Hosts 10.0.0.1, 10.0.0.2 and so on.
pub struct Net {
    name: String,
    hosts: u8,
}

impl Net {
    /// So many hosts, all of which reach each other.
    pub fn new(hosts: u8) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            name: format!("sl{}-{number}", std::process::id()),
            hosts,
        };
        let switch = net.namespace(0);
        ip(&["netns", "add", &switch]);
        ip(&[
            "-n", &switch, "link", "add", "name", "switch0", "type", "bridge",
        ]);
        ip(&["-n", &switch, "link", "set", "switch0", "up"]);
        for host in 1..=hosts {
            let (namespace, port) = (net.namespace(host), format!("p{host}"));
            ip(&["netns", "add", &namespace]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
            ip(&[
                "-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", &port,
                "netns", &switch,
            ]);
            ip(&[
                "-n",
                &namespace,
                "addr",
                "add",
                &format!("{}/24", address(host)),
                "dev",
                "eth0",
            ]);
            ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
            ip(&[
                "-n", &switch, "link", "set", &port, "master", "switch0", "up",
            ]);
        }
        net
    }

    /// A command to run on a host.
    pub fn on(&self, host: u8) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]);
        command.arg(env!("CARGO_BIN_EXE_sidelock"));
        command
    }

    /// What either of two hosts sends to the other is lost from now on.
    pub fn cut(&self, one: u8, other: u8) {
        for (from, to) in [(one, other), (other, one)] {
            let namespace = self.namespace(from);
            let to = address(to);
            ip(&[
                "-n",
                &namespace,
                "neigh",
                "replace",
                &to,
                "lladdr",
                NOBODY,
                "dev",
                "eth0",
                "nud",
                "permanent",
            ]);
        }
    }

    /// Nothing between them is lost any more.
    pub fn mend(&self, one: u8, other: u8) {
        for (from, to) in [(one, other), (other, one)] {
            let namespace = self.namespace(from);
            ip(&[
                "-n",
                &namespace,
                "neigh",
                "del",
                &address(to),
                "dev",
                "eth0",
            ]);
        }
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in 0..=self.hosts {
            let namespace = self.namespace(host);
            // A test that failed while it was set up has not made them all.
            Command::new("ip")
                .args(["netns", "del", &namespace])
                .output()
                .ok();
        }
    }
}

/// The address of a host.
pub fn address(host: u8) -> String {
    format!("10.0.0.{host}")
}

fn ip(arguments: &[&str]) -> Output {
    let output = Command::new("ip").args(arguments).output();
    let output = output.expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments:?} (as root?): {said}"
    );
    output
}

/// Three core nodes on the hosts 1 to 3.
pub struct Cores {
    _dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Cores {
    pub fn start(net: &Net) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let peers: Vec<String> = (1..=3)
            .map(|n| format!("{n}={}:5626", address(n)))
            .collect();
        let children = (1..=3).map(|node| {
            let log = std::fs::File::create(dir.path().join(format!("log-{node}")));
            net.on(node)
                .args([
                    "core",
                    "--node-id",
                    &node.to_string(),
                    "--peers",
                    &peers.join(","),
                ])
                .arg("--insecure-plaintext") // nobody else is on these networks
                .args(["--grpc", &format!("{}:5626", address(node))])
                .args(["--http", &format!("{}:5627", address(node)), "--data-dir"])
                .arg(dir.path().join(format!("data-{node}")))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.expect("the log can be written"))
                .spawn()
                .expect("ip can be started")
        });
        Self {
            children: children.collect(),
            _dir: dir,
        }
    }

    /// For `--core`.
    pub fn addresses() -> String {
        let all: Vec<String> = (1..=3).map(|n| format!("{}:5626", address(n))).collect();
        all.join(",")
    }

    /// Sends a node a signal.
    pub fn signal(&self, node: u8, signal: Signal) {
        let child = &self.children[usize::from(node) - 1];
        kill_process(Pid::from_child(child), signal).expect("the process is ours");
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; then there is nothing to kill.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
