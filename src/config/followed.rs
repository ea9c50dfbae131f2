//! A value that is read from files, and read again when they change: certificates, rules, tokens.
//! In: paths, how to read them. Out: the value of now. Never: a value that could not be read, once there was one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How often the files are looked at. Kubernetes takes up to a minute to bring a changed secret anyway.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How the bytes of the files, in their order, become the value; or what is wrong with them, in words.
type Read<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// A value from files.
pub struct Followed<T> {
    paths: Vec<PathBuf>,
    read: Read<T>,
    bytes: tokio::sync::Mutex<Vec<Vec<u8>>>,
    now: watch::Sender<Arc<T>>,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// They make no sense.
    #[error("{}: {why}", shown(paths))]
    Value {
        /// Which.
        paths: Vec<PathBuf>,
        /// What is wrong.
        why: String,
    },
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the files once; without a value there is nothing to follow.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn start(
        paths: Vec<PathBuf>,
        read: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, FollowError> {
        let bytes: Result<Vec<_>, _> = paths
            .iter()
            .map(|path| std::fs::read(path).map_err(|source| file_error(path, source)))
            .collect();
        let bytes = bytes?;
        let value = read(&bytes).map_err(|why| FollowError::Value {
            paths: paths.clone(),
            why,
        })?;
        Ok(Self {
            paths,
            read: Box::new(read),
            bytes: tokio::sync::Mutex::new(bytes),
            now: watch::Sender::new(Arc::new(value)),
        })
    }

    /// The same for a value that stands in one file.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn one(
        path: PathBuf,
        read: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, FollowError> {
        Self::start(vec![path], move |bytes| {
            read(bytes.first().map_or(&[], Vec::as_slice))
        })
    }

    /// The value of now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.borrow())
    }

    /// Tells when there is another.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.now.subscribe()
    }

    /// Looks at the files for ever.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the former content stays in use");
            }
        }
    }

    /// Reads the files again; true if there is another value. What is half written is an error, and is looked at
    /// again the next time.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn look(&self) -> Result<bool, FollowError> {
        let mut known = self.bytes.lock().await;
        let mut bytes = Vec::new();
        for path in &self.paths {
            let read = tokio::fs::read(path).await;
            bytes.push(read.map_err(|source| file_error(path, source))?);
        }
        if *known == bytes {
            return Ok(false);
        }
        let value = (self.read)(&bytes).map_err(|why| FollowError::Value {
            paths: self.paths.clone(),
            why,
        })?;
        *known = bytes;
        self.now.send_replace(Arc::new(value));
        tracing::info!(files = shown(&self.paths), "read again");
        Ok(true)
    }
}

impl<T> std::fmt::Debug for Followed<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the bytes: a key may be among them.
        write!(formatter, "Followed({})", shown(&self.paths))
    }
}

fn file_error(path: &std::path::Path, source: io::Error) -> FollowError {
    FollowError::File {
        path: path.to_owned(),
        source,
    }
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(&bytes[0]);
        text.trim()
            .parse()
            .map_err(|_| format!("{text:?} is no number"))
    }

    #[tokio::test]
    async fn the_last_good_content_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("number");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write("1");
        let followed = Followed::start(vec![path.clone()], number).expect("a number");
        assert_eq!(*followed.now(), 1);
        assert!(!followed.look().await.expect("unchanged"));
        write("two");
        assert!(followed.look().await.is_err());
        assert_eq!(*followed.now(), 1);
        write("2");
        assert!(followed.look().await.expect("another"));
        assert_eq!(*followed.now(), 2);
        std::fs::remove_file(&path).expect("removed");
        assert!(followed.look().await.is_err());
        assert_eq!(*followed.now(), 2);
    }

    #[test]
    fn what_is_wrong_at_the_start_is_told_with_its_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("number");
        let missing = Followed::start(vec![path.clone()], number).expect_err("missing");
        assert!(missing.to_string().contains("number"), "{missing}");
        std::fs::write(&path, "x").expect("written");
        let wrong = Followed::start(vec![path], number).expect_err("wrong");
        assert!(wrong.to_string().contains("is no number"), "{wrong}");
    }
}
