//! A leader that was stopped for longer than every lease, and goes on.
//! In: claims that their sidecars renew all the while. Out: the same claims, with the same tokens.
//! Never: a lease ended by a leader that has slept through its renewals.

use std::time::Duration;

use rustix::process::Signal;

use crate::cell::Cell;
use crate::held::Held;
use crate::pod::Pod;

const CLAIMS: usize = 30;
const STOPPED: Duration = Duration::from_secs(10);
/// In these it finds out that it does not lead any more, and would do what it thought due.
const AWAKE: Duration = Duration::from_secs(3);

#[tokio::test]
#[ignore = "slow: a leader is stopped for 10 s"]
async fn a_leader_that_slept_revokes_no_live_lease() {
    let cell = Cell::of_three().await;
    let pod = Pod::start(&cell.cores(), &["--session-ttl", "4s"]).await;
    let held = Held::take(&pod, CLAIMS).await;
    let leader = cell.leader().await;
    cell.signal(leader, Signal::STOP);
    tokio::time::sleep(STOPPED).await;
    assert_ne!(cell.leader_other_than(leader).await, leader);
    cell.signal(leader, Signal::CONT);
    tokio::time::sleep(AWAKE).await;
    held.check(&pod).await;
    // And the cell goes on: with all three of them.
    cell.until("all three to be there", async || {
        let members = cell.members(leader).await;
        (members.len() == 3).then_some(())
    })
    .await;
    pod.take("after", "lock-after").await;
}
