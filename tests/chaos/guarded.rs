//! What a lock guards, twice: once with a look at tokens, once without.
//! In: reads and writes with tokens. Out: how many updates were lost either way. Never: a look at the lock.

/// A number that everybody reads, thinks about, and writes.
#[derive(Debug, Default)]
pub struct Guarded {
    fenced: Cell,
    bare: Cell,
    /// The greatest token seen.
    newest: u64,
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Cell {
    version: u64,
    lost: u64,
}

impl Cell {
    fn write(&mut self, read: u64) {
        self.lost += u64::from(read != self.version);
        self.version += 1;
    }
}

/// What one app has read.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// None if its token was refused.
    fenced: Option<u64>,
    bare: u64,
}

impl Guarded {
    /// Reads state the token too: a later holder's read shuts out an earlier holder's write.
    pub fn read(&mut self, token: u64) -> Seen {
        let admitted = self.admits(token);
        Seen {
            fenced: admitted.then_some(self.fenced.version),
            bare: self.bare.version,
        }
    }

    pub fn write(&mut self, token: u64, seen: Seen) {
        self.bare.write(seen.bare);
        if let Some(read) = seen.fenced
            && self.admits(token)
        {
            self.fenced.write(read);
        }
    }

    pub fn updates(&self) -> u64 {
        self.fenced.version
    }

    pub fn lost(&self) -> u64 {
        self.fenced.lost
    }

    pub fn lost_without_tokens(&self) -> u64 {
        self.bare.lost
    }

    fn admits(&mut self, token: u64) -> bool {
        let admitted = token >= self.newest;
        self.newest = self.newest.max(token);
        self.refused += u64::from(!admitted);
        admitted
    }
}

#[test]
fn an_update_between_read_and_write_is_lost_unless_tokens_are_compared() {
    let mut guarded = Guarded::default();
    let early = guarded.read(1);
    let late = guarded.read(2);
    guarded.write(2, late);
    guarded.write(1, early);
    assert_eq!(
        (
            guarded.lost(),
            guarded.lost_without_tokens(),
            guarded.refused
        ),
        (0, 1, 1)
    );
}
