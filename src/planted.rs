//! Mistakes that are planted on purpose, one at a time, to prove that the tests would find them.
//! In: the name of one in `SIDELOCK_PLANTED`. Out: yes, where that one is to be made.
//! Never: in a build without the feature `planted`, where every answer is "no" at compile time.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident by $judge:literal,)+) => {
        /// A mistake. Each is made at one place, the opposite of one rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        /// All, each with what it does and the test target that is to find it.
        pub const BUGS: &[(&str, &str, &str)] = &[
            $((stringify!($name), concat!($($doc),+), $judge),)+
        ];

        impl Bug {
            #[cfg(feature = "planted")]
            fn named(text: &str) -> Option<Self> {
                match text {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

bugs! {
    // Sessions and their leases.
    /// A session is expired although it was renewed since the timer was set.
    ExpireWithoutCompare by "sim",
    /// The deadline counts from when the acknowledgement was received, not from before the renewal was sent.
    DeadlineFromReceive by "sim",
    /// An acknowledgement moves the deadline by the send time of the newest renewal, not of its own.
    AnyAckMovesDeadline by "desk",
    /// The deadline leaves nothing for clocks of different rates.
    RatesIgnored by "sim",
    /// A renewal with an old number counts.
    OldRenewalCounts by "model",
    /// Timers go on over a change of leader with what was left of them.
    TimersSurviveElection by "service",
    /// A leader that has stalled expires at once what was due meanwhile.
    StalledLeaderExpires by "service",
    /// A new leader expires before sidecars had time to renew with it.
    NewLeaderExpires by "service",
    /// Whoever knows the key of a session may attach to it.
    AnybodysSession by "rules",
    /// What no rule allows is allowed.
    RightsIgnored by "tls",
    // Once, in order, by the right process.
    /// What a process sends that was shut out by its successor still counts.
    DeadProcessCounts by "sim",
    /// A process that takes over goes on under the generation of the one before.
    SameGeneration by "sim",
    /// An operation that comes again is done again.
    AppliedTwice by "model",
    /// Replies are not kept for an operation that comes again.
    RepliesForgotten by "model",
    /// What was sent and not answered when the stream broke is not sent again.
    NotSentAgain by "sim",
    /// A process that takes over frees what claims of the one before still hold.
    TakeoverFreesHeld by "sim",
    /// What a process writes down of a claim names an operation that was never applied.
    OldNumbersSaved by "sim",
    // Tokens.
    /// A block of tokens does not move the counter on by its whole length.
    BlockNotCounted by "sim",
    /// The token counter starts anew once nothing is held.
    TokensStartAnew by "sim",
    /// A delegation that asks for more tokens gets those that it had.
    SameBlockAgain by "rules",
    /// A delegation that comes back does not say which tokens were used.
    NewestForgotten by "rules",
    // Queues.
    /// Whoever waits stays in line when its session dies.
    DeadStayInLine by "model",
    /// Readers go past a writer that waits.
    ReadersPassWriters by "model",
    /// Nobody who is passed by higher classes is ever promoted.
    NoPromotion by "model",
    /// Deadlocks are not looked for.
    DeadlockMissed by "model",
    /// The oldest waiter of a deadlock is the victim.
    OldestIsVictim by "model",
    /// An order of locks that contradicts another is not noticed.
    InversionMissed by "model",
    /// A lock opens at once after its holder died.
    LockDelaySkipped by "model",
    /// A second death shortens a lock-delay that runs.
    LockDelayShortened by "model",
    /// Permits of different limits are held side by side.
    LimitsMix by "sim",
    // Delegations.
    /// Granted from a kept lock though the session's deadline has passed.
    GrantPastDeadline by "sim",
    /// Granted from a kept lock in read-only mode.
    GrantInReadOnly by "desk",
    /// Local claims go on being granted after a recall.
    RecallIgnored by "desk",
    /// A recall that comes before its grant is lost.
    EarlyRecallLost by "desk",
    /// Nobody answers whether a lock that others try for is in use.
    NoAnswerToTry by "desk",
    /// A try is refused because of a lock that is kept unused.
    TryGuesses by "rules",
    /// A session may renew for ever without hearing recalls.
    RenewsUnheard by "rules",
    /// A lock that is handed over frees the claims that hold under it.
    ReturnFreesHeld by "sim",
    /// The core forgets the claims that come with a lock that is handed over.
    KeptForgotten by "sim",
    /// A lock with a lock-delay is delegated.
    DelayedLockDelegated by "rules",
    /// A delegation outlives its session.
    DelegationOutlivesSession by "sim",
    /// An owner that has a claim gets another from a kept lock.
    OwnerHasTwoHere by "desk",
    /// Another pod's shared claims do not keep an exclusive local one out.
    SharedDelegationCoversExclusive by "sim",
    // The log and the disk.
    /// A vote is given before it is durable.
    VoteUnsynced by "storage",
    /// An entry is acknowledged before it is durable.
    EntryUnsynced by "quorum",
    /// Entries that another leader's replace stay in the cache.
    TruncatedStayCached by "storage",
    /// The storage is not told of new history.
    HistoryUntold by "model",
    /// What a snapshot does not have stays on the disk.
    InstallKeepsOld by "quorum",
    // Claims.
    /// A grant that comes when nobody wants it any more is not given back.
    LateGrantKept by "sim",
    /// A claim past the session's deadline is still said to be granted.
    GrantedPastDeadline by "sim",
    /// A lease holds for twice its time.
    LeaseTwiceAsLong by "desk",
    /// An id that was used up can be claimed again.
    IdUsedAgain by "desk",
    /// A drain gives locks back that are held.
    DrainFreesHeld by "desk",
    /// What was read here of a lock that others have asked for is called linearizable.
    StaleReadLinearizable by "desk",
}

/// Whether this mistake is to be made.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("SIDELOCK_PLANTED").ok()?;
        Some(Bug::named(&name).unwrap_or_else(|| panic!("there is no bug {name}")))
    });
    *planted == Some(bug)
}

/// Whether this mistake is to be made: never.
#[cfg(not(feature = "planted"))]
pub const fn is(_: Bug) -> bool {
    false
}
