//! Disks that are full: of one node, then of all.
//! In: nodes on small disks of their own. Out: refusals that say why, and after there is room again everything
//! that was ever acknowledged. Never: a disk left mounted. Needs root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::held::Held;
use crate::pod::Pod;

const CLAIMS: usize = 30;

/// A small disk where a node keeps its data.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).expect("the directory can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(&at)
            .status();
        assert!(mounted.is_ok_and(|it| it.success()), "mount (as root?)");
        Self(at)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Not a byte more goes there.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("the file can be made");
        let block = vec![1; 1 << 16];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Lazily: a process that a failed test has left may still have files open.
fn unmount(at: &Path) {
    Command::new("umount").arg("-l").arg(at).status().ok();
}

/// Claims and releases until this node has ended for want of room.
async fn write_until_it_ends(cell: &mut Cell, pod: &Pod, place: u16) {
    let (mut number, writing) = (0, pod);
    let write = async {
        loop {
            number += 1;
            let path = format!("/v1/claims/write-{place}-{number}");
            let body = json!({ "lock": format!("w-{place}"), "wait_ms": 1_000 });
            writing.ask(Method::PUT, &path, Some(body)).await;
            writing.ask(Method::DELETE, &path, None).await;
        }
    };
    tokio::select! {
        well = cell.ended(place) => assert!(!well, "node {place} said that all was well"),
        () = write => {}
    }
}

/// Claims and releases until it is refused; some room is left in files that were there already.
async fn write_until_refused(pod: &Pod) -> Value {
    for number in 0..200_000 {
        let path = format!("/v1/claims/fill-{number}");
        let body = json!({ "lock": "lock-fill", "wait_ms": 0 });
        let answer = pod.ask(Method::PUT, &path, Some(body)).await;
        if answer.status == 503 {
            return answer.body;
        }
        pod.ask(Method::DELETE, &path, None).await;
    }
    panic!("full disks took all writes");
}

#[tokio::test]
#[ignore = "slow: needs root, to mount small disks"]
async fn full_disks_refuse_clearly_and_lose_nothing() {
    let mut cell = Cell::new(3);
    let disks: Vec<Disk> = (1..=3)
        .map(|place| Disk::mount(cell.data_dir(place)))
        .collect();
    cell.start_founders(3);
    let leader = cell.leader().await;
    let pod = Pod::start(&cell.cores(), &["--no-delegations", "--session-ttl", "60s"]).await;
    let held = Held::take(&pod, CLAIMS).await;

    // One is full: it ends, and the others go on.
    let of = |place: u16| usize::from(place) - 1;
    disks[of(leader)].fill();
    write_until_it_ends(&mut cell, &pod, leader).await;
    pod.take("beside", "lock-beside").await;
    disks[of(leader)].make_room();
    cell.start(leader, &[]);
    cell.until("the node with room again", async || {
        (cell.members(leader).await.len() == 3).then_some(())
    })
    .await;

    // All are full: nothing is granted, and whoever asks is told so.
    disks.iter().for_each(Disk::fill);
    let refused = write_until_refused(&pod).await;
    assert!(refused["code"].is_string() && refused["retry_after_ms"].as_u64() > Some(0));
    held.check(&pod).await;

    // There is room again.
    disks.iter().for_each(Disk::make_room);
    for place in 1..=3 {
        if cell.has_ended(place) {
            cell.start(place, &[]);
        }
    }
    cell.leader().await;
    let after = pod.take("after", "lock-after").await;
    held.check(&pod).await;
    for number in 0..CLAIMS {
        let body = json!({ "lock": format!("lock-{number}"), "wait_ms": 0 });
        let stolen = pod.put(&format!("d{number}"), body).await;
        assert_eq!(stolen.body["code"], "lock-held");
    }
    assert!(after["token"].as_u64().is_some());
}
