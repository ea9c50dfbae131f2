//! What the lock guards: apps that read, think for as long as they like, and write.
//! In: grants and the apps' steps. Out: whether an update was lost, a token went back, a write was refused.
//! Never: a check whether the app still holds the lock; apps that are paused do not check.

use crate::world::{PODS, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct App {
    token: u8,
    /// The version that it read.
    read: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resource {
    apps: [Option<App>; PODS],
    /// The greatest token seen.
    newest: u8,
    version: u8,
    /// The greatest token ever granted.
    granted: u8,
    pub went_back: bool,
    pub lost: bool,
    pub refused: bool,
}

impl Resource {
    pub fn granted(&mut self, app: usize, token: u8) {
        self.went_back |= token <= self.granted;
        self.granted = self.granted.max(token);
        self.apps[app] = Some(App { token, read: None });
    }

    pub fn let_go(&mut self, app: usize) {
        self.apps[app] = None;
    }

    pub fn may_read(&self, app: usize) -> bool {
        self.apps[app].is_some_and(|app| app.read.is_none())
    }

    pub fn may_write(&self, app: usize) -> bool {
        self.apps[app].is_some_and(|app| app.read.is_some())
    }

    /// Reads state the token too: a later holder's read must shut out an earlier holder's write.
    pub fn read(&mut self, world: &World, app: usize) {
        let version = self.version;
        if self.admits(world, app)
            && let Some(app) = &mut self.apps[app]
        {
            app.read = Some(version);
        }
    }

    pub fn write(&mut self, world: &World, app: usize) {
        if self.admits(world, app) {
            let read = self.apps[app].and_then(|app| app.read);
            self.lost |= read != Some(self.version);
            self.version += 1;
            self.apps[app] = None;
        }
    }

    fn admits(&mut self, world: &World, at: usize) -> bool {
        let Some(app) = self.apps[at] else {
            return false;
        };
        if world.fenced && app.token < self.newest {
            self.refused = true;
            self.apps[at] = None;
            return false;
        }
        self.newest = self.newest.max(app.token);
        true
    }
}
