//! `sidelock certs`: an authority and certificates for a try-out.
//! In: names, a folder. Out: PEM files there. Never: a file that was there before written over.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::exit::{FAILED, Failure, OK, Outcome};
use super::print;
use crate::tls::issue::{Authority, Issued, Subject};

/// Make an authority and certificates for a try-out
///
/// Writes ca.pem and ca-key.pem; core.pem and core-key.pem for all nodes of a cell; NAME.pem and NAME-key.pem for
/// each sidecar and operator. For production take what your platform has: SPIRE, cert-manager, your own authority.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Names and addresses by which nodes are called
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "localhost,127.0.0.1,::1"
    )]
    host: Vec<String>,
    /// Sidecars and operators; one that has slashes, as spiffe://example.org/ns/shop/sa/till, is called by its last
    /// part: NAME
    #[arg(
        long,
        value_name = "IDENTITY,...",
        value_delimiter = ',',
        default_value = "sidecar"
    )]
    sidecar: Vec<String>,
    /// For how long they are valid
    #[arg(long, value_name = "DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// Do nothing where all of them are there already, so that a start-up script can be run again
    #[arg(long)]
    if_absent: bool,
}

/// Writes them.
pub fn run(args: Args) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| Failure::new(FAILED, error);
    let core = Subject {
        common_name: "sidelock-core".to_owned(),
        hosts: args.host,
        uris: Vec::new(),
    };
    let mut named = vec![("core".to_owned(), core)];
    for identity in args.sidecar {
        named.push(sidecar(&identity));
    }
    check_names(&named)?;
    let all_there = named.iter().all(|(file, _)| is_there(&args.out, file));
    if args.if_absent && all_there && is_there(&args.out, "ca") {
        return Ok(OK);
    }
    fs::create_dir_all(&args.out)
        .map_err(|error| failed(&format_args!("{}: {error}", args.out.display())))?;
    let authority =
        Authority::new("Sidelock try-out", args.days).map_err(|error| failed(&error))?;
    write(&args.out, "ca.pem", &authority.pem, 0o644)?;
    write(&args.out, "ca-key.pem", &authority.key_pem(), 0o600)?;
    for (file, subject) in named {
        let Issued { pem, key_pem, .. } =
            authority.issue(&subject).map_err(|error| failed(&error))?;
        let [certificate, key] = files(&file);
        write(&args.out, &certificate, &pem, 0o644)?;
        write(&args.out, &key, &key_pem, 0o600)?;
    }
    print::line(&format!(
        "wrote an authority and certificates to {}",
        args.out.display()
    ))?;
    Ok(OK)
}

/// Refuses what would be written to one file twice, before anything is written.
fn check_names(named: &[(String, Subject)]) -> Result<(), Failure> {
    let mut taken = HashSet::from(files("ca"));
    for (file, _) in named {
        if file.is_empty() {
            let text = "--sidecar: an identity without a last part has no name for its files";
            return Err(Failure::usage(text));
        }
        if let Some(twice) = files(file).into_iter().find(|name| taken.contains(name)) {
            return Err(Failure::usage(format_args!(
                "--sidecar: {twice} would be written twice: give each its own last part, and none \"core\" or \"ca\""
            )));
        }
        taken.extend(files(file));
    }
    Ok(())
}

/// A certificate and its key.
fn files(file: &str) -> [String; 2] {
    [format!("{file}.pem"), format!("{file}-key.pem")]
}

/// Whether both are there.
fn is_there(dir: &Path, file: &str) -> bool {
    files(file).iter().all(|name| dir.join(name).exists())
}

/// The name of its files, and who it is.
fn sidecar(identity: &str) -> (String, Subject) {
    let file = identity.rsplit('/').next().unwrap_or(identity).to_owned();
    let uris = match identity.contains("://") {
        true => vec![identity.to_owned()],
        false => Vec::new(),
    };
    let subject = Subject {
        common_name: file.clone(),
        hosts: Vec::new(),
        uris,
    };
    (file, subject)
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let path = dir.join(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::new(FAILED, format_args!("{}: {error}", path.display())))
}
