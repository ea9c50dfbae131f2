//! Runs the scripts of tests/table/: commands and the replies that the table gives, readable by operators.
//! In: *.txt. Out: a difference for each reply that changed; `REWRITE=1` writes what the table says now.
//! Never: a step after which a law is broken, or a stored copy differs from the table.
//!
//! The language, a command a line, its reply after `->`, its effects indented below:
//!     open s1 [key=N]              take WANTS by SESSION as CLAIM [wait] [owner=O] [priority=N]
//!     renew s1 number=N            (WANTS: `a`, `a shared`, `a 2/5`, several with commas between)
//!     expire s1 renewal=N          release CLAIM [CAUSE]    value CLAIM TEXT    close s1
//!     again s1 seq=N (a resend)    ack s1 N (rides on the next operation)    skip s1 seq=N (a gap)
//!     break LOCK [force]           reopen LOCK delay=N      policy PREFIX [delay=MS] [limit=N] [waiters=N] | none
//!     verify LOCK TOKEN            show LOCK    history LOCK    trim REVISION
//!     repeat N: COMMAND; COMMAND   with `%` for the turn; tells the last reply
//!     order | deadlocks | waits | sessions | why LOCK         as operators see them
//!     watch                        from here on `changed LOCK` is shown too

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::survey::Survey;
use sidelock::table::{Table, laws};

use tell::kebab;

#[path = "table/tell.rs"]
mod tell;

#[test]
fn scripts_say_what_the_table_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", folder.display());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable script");
        let now = Script::run(&text, &file.display().to_string());
        if now == text {
            continue;
        }
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&file, now).expect("a writable script");
        } else {
            wrong.push(difference(&file, &text, &now));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nREWRITE=1 accepts this",
        wrong.join("\n")
    );
}

fn difference(file: &Path, was: &str, now: &str) -> String {
    let mut text = format!("{}:", file.display());
    let (was, now): (Vec<_>, Vec<_>) = (was.lines().collect(), now.lines().collect());
    for at in 0..was.len().max(now.len()) {
        let (was, now) = (was.get(at), now.get(at));
        if was != now {
            write!(
                text,
                "\n  line {}: said {was:?}\n  now says {now:?}",
                at + 1
            )
            .expect("a string takes all");
            break;
        }
    }
    text
}

/// One script under way: the table, the names it gave, and the log to replay at the end.
#[derive(Default)]
struct Script {
    table: Table,
    log: Vec<(Command, Reply)>,
    sessions: BTreeMap<String, SessionId>,
    claims: BTreeMap<String, ClaimRef>,
    names: BTreeMap<ClaimRef, String>,
    next_seq: BTreeMap<SessionId, u64>,
    acked: BTreeMap<SessionId, u64>,
    sent: BTreeMap<(SessionId, u64), Operate>,
    watch: bool,
}

impl Script {
    fn run(text: &str, file: &str) -> String {
        let mut script = Self::default();
        let mut out = String::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with("    ") {
                continue; // an effect of before
            }
            if line.is_empty() || line.starts_with('#') {
                out.push_str(line);
                out.push('\n');
                continue;
            }
            let (line, comment) = match line.split_once(" # ") {
                Some((line, comment)) => (line, format!("  # {comment}")),
                None => (line, String::new()),
            };
            let command = line.split(" ->").next().unwrap_or(line).trim();
            let (reply, effects) = script
                .perform(command)
                .unwrap_or_else(|| panic!("{file}:{}: what is {command:?}?", at + 1));
            script.judge(&format!("{file}:{}", at + 1));
            writeln!(out, "{command:<46} -> {reply}{comment}").expect("a string takes all");
            for effect in effects {
                writeln!(out, "    {effect}").expect("a string takes all");
            }
        }
        script.replay(file);
        out
    }

    /// All laws hold, and the stored objects make the same table.
    fn judge(&self, at: &str) {
        if let Err(violation) = laws::check(&self.table) {
            panic!("{at}: {violation}");
        }
        let stored = Table::load(self.table.objects());
        assert_eq!(
            stored.as_ref(),
            Ok(&self.table),
            "{at}: another table loaded"
        );
    }

    /// The same log gives the same table and the same replies.
    fn replay(&self, file: &str) {
        let mut table = Table::default();
        for (index, (command, reply)) in (1..).zip(&self.log) {
            let (again, _) = table.apply(index, command);
            assert_eq!(again, *reply, "{file}: replayed {command:?}");
        }
        assert_eq!(table, self.table, "{file}: replayed");
    }

    fn perform(&mut self, command: &str) -> Option<(String, Vec<String>)> {
        let quiet = |text: String| Some((text, Vec::new()));
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "repeat" => {
                let (times, body) = rest.split_once(": ")?;
                let mut last = String::new();
                for turn in 1..=times.parse::<u64>().ok()? {
                    for command in body.split("; ") {
                        let command = command.replace('%', &turn.to_string());
                        last = self.perform(&command)?.0;
                        self.judge(&command);
                    }
                }
                quiet(last)
            }
            "watch" => {
                self.watch = true;
                quiet("yes".into())
            }
            "ack" => {
                let (session, acked) = rest.split_once(' ')?;
                self.acked
                    .insert(self.sessions[session], acked.parse().ok()?);
                quiet("with the next operation".into())
            }
            "verify" => {
                let (lock, token) = rest.split_once(' ')?;
                let token = Token::new(token.parse().ok()?)?;
                let found = self.table.verify(&name(lock), token);
                let newest = found
                    .newest
                    .map_or("none".into(), |token| token.to_string());
                let (current, held) = (found.current, found.held);
                quiet(format!("current={current} held={held} newest={newest}"))
            }
            "show" => quiet(self.show(&name(rest))),
            "history" => Some((String::from("newest first"), self.history(&name(rest)))),
            "order" | "deadlocks" | "waits" | "sessions" | "why" => {
                let ask = survey(verb, rest)?;
                let found = self.table.survey(&ask, |at| Duration::from_secs(at.0));
                Some(self.findings(&found))
            }
            "again" => {
                let (session, seq) = rest.split_once(" seq=")?;
                let key = (self.sessions[session], seq.parse().ok()?);
                let sent = Command::Operate(self.sent.get(&key)?.clone());
                Some(self.apply(sent))
            }
            _ => {
                let command = self.parse(verb, rest)?;
                Some(self.apply(command))
            }
        }
    }

    fn parse(&mut self, verb: &str, rest: &str) -> Option<Command> {
        let words: Vec<&str> = rest.split(' ').collect();
        let option = |name: &str| {
            words.iter().find_map(|word| {
                let (key, value) = word.split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let number = |name: &str| option(name).and_then(|value| value.parse::<u64>().ok());
        let small = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
        Some(match verb {
            "open" => {
                let session = words[0].to_owned();
                let key = number("key").unwrap_or(1000 + self.sessions.len() as u64);
                self.sessions.entry(session.clone()).or_default();
                Command::OpenSession(OpenSession {
                    key: SessionKey(u128::from(key)),
                    ttl_ms: 10_000,
                    identity: session.into(),
                    generation: Generation(1),
                    principal: None,
                })
            }
            "renew" => Command::Renew(vec![Renewal {
                session: self.session(words[0]),
                generation: Generation(small("generation").unwrap_or(1)),
                number: RenewalNumber(number("number")?),
                heard: RenewalNumber(0),
            }]),
            "expire" => Command::Expire {
                session: self.session(words[0]),
                number: RenewalNumber(number("renewal")?),
            },
            "take" => {
                let (wants, rest) = rest.split_once(" by ")?;
                let (session, rest) = rest.split_once(" as ")?;
                let claim = rest.split(' ').next()?;
                let ask = Acquire {
                    claim_id: ClaimId::parse(claim).ok()?,
                    owner: OwnerId::parse(option("owner").unwrap_or(claim)).ok()?,
                    locks: wants.split(", ").map(want).collect::<Option<_>>()?,
                    wait: words.contains(&"wait"),
                    priority: u8::try_from(number("priority").unwrap_or(0)).ok()?,
                    metadata: BTreeMap::new(),
                    value: None,
                    trace_id: "".into(),
                };
                let session = self.session(session);
                let operate = self.operate(session, Operation::Acquire(ask));
                let name = ClaimRef {
                    session,
                    seq: operate.seq,
                };
                self.claims.insert(claim.to_owned(), name);
                self.names.insert(name, claim.to_owned());
                Command::Operate(operate)
            }
            "release" => {
                let claim = self.claims[words[0]];
                let release = Operation::Release(Release {
                    claim: claim.seq,
                    cause: cause(words.get(1).unwrap_or(&"released"))?,
                    waited_ms: 1,
                    held_ms: 2,
                });
                Command::Operate(self.operate(claim.session, release))
            }
            "value" => {
                let claim = self.claims[words[0]];
                let value = Operation::SetValue {
                    claim: claim.seq,
                    value: words[1].into(),
                };
                Command::Operate(self.operate(claim.session, value))
            }
            "close" => {
                let session = self.session(words[0]);
                Command::Operate(self.operate(session, Operation::Close))
            }
            "skip" => Command::Operate(Operate {
                session: self.session(words[0]),
                generation: Generation(small("generation").unwrap_or(1)),
                seq: Seq(number("seq")?),
                acked: Seq(0),
                operation: Operation::Close,
            }),
            "break" => Command::Break(Break {
                lock: name(words[0]),
                reason: "stuck".into(),
                force: words.contains(&"force"),
                by: "op".into(),
            }),
            "reopen" => Command::Reopen {
                lock: name(words[0]),
                delay: DelayNumber(number("delay")?),
            },
            "policy" => {
                let policy = Policy {
                    lock_delay_ms: small("delay").unwrap_or(0),
                    semaphore_limit: small("limit"),
                    waiters_max: small("waiters"),
                };
                Command::SetPolicy {
                    prefix: words[0].into(),
                    policy: (!words.contains(&"none")).then_some(policy),
                }
            }
            "trim" => Command::TrimHistory {
                up_to: Revision(words[0].parse().ok()?),
            },
            _ => return None,
        })
    }

    fn session(&self, name: &str) -> SessionId {
        *self
            .sessions
            .get(name)
            .unwrap_or_else(|| panic!("no session {name}"))
    }

    fn operate(&mut self, session: SessionId, operation: Operation) -> Operate {
        let seq = self.next_seq.entry(session).or_insert(1);
        let operate = Operate {
            session,
            generation: Generation(1),
            seq: Seq(*seq),
            acked: Seq(self.acked.get(&session).copied().unwrap_or(0)),
            operation,
        };
        *seq += 1;
        self.sent.insert((session, operate.seq.0), operate.clone());
        operate
    }

    fn apply(&mut self, command: Command) -> (String, Vec<String>) {
        let (reply, effects) = self.table.apply(self.log.len() as u64 + 1, &command);
        if let (Command::OpenSession(open), Reply::SessionOpened { session, .. }) =
            (&command, &reply)
        {
            self.sessions.insert(open.identity.to_string(), *session);
        }
        self.log.push((command, reply.clone()));
        let reply = self.reply(&reply);
        (
            reply,
            effects.iter().filter_map(|it| self.effect(it)).collect(),
        )
    }
}

fn survey(verb: &str, rest: &str) -> Option<Survey> {
    Some(match verb {
        "order" => Survey::Order,
        "deadlocks" => Survey::Deadlocks { limit: 3 },
        "waits" => Survey::Waits,
        "sessions" => Survey::Sessions,
        "why" => Survey::Why(name(rest)),
        _ => return None,
    })
}

fn name(text: &str) -> LockName {
    LockName::parse(text).expect("scripts name locks rightly")
}

fn want(text: &str) -> Option<Want> {
    let (lock, mode) = text.split_once(' ').unwrap_or((text, "exclusive"));
    let mode = match mode {
        "exclusive" => Mode::Exclusive,
        "shared" => Mode::Shared,
        permits => {
            let (permits, limit) = permits.split_once('/')?;
            Mode::Semaphore {
                permits: permits.parse().ok()?,
                limit: limit.parse().ok()?,
            }
        }
    };
    Some(Want {
        name: name(lock),
        mode,
    })
}

fn cause(text: &str) -> Option<EndCause> {
    [
        EndCause::Released,
        EndCause::Cancelled,
        EndCause::LeaseExpired,
        EndCause::StreamClosed,
        EndCause::GrantTooLate,
        EndCause::Broken,
    ]
    .into_iter()
    .find(|cause| kebab(*cause) == text)
}
