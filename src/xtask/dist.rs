//! `cargo xtask dist`: the archives of a release, their sums and the krew manifest. Uploads nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dbmig_wire::hex;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::Outcome;
use crate::process::{capture, cargo, heading, print, root, run as run_command, say};

/// The plugin's name in the archive and on the PATH.
const BINARY: &str = "kubectl-dbmig";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
    /// Pack this binary as linux/amd64 instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A platform that the krew manifest knows.
struct Target {
    os: &'static str,
    arch: &'static str,
    triple: &'static str,
}

const TARGETS: [Target; 4] = [
    Target { os: "linux", arch: "amd64", triple: "x86_64-unknown-linux-gnu" },
    Target { os: "linux", arch: "arm64", triple: "aarch64-unknown-linux-gnu" },
    Target { os: "darwin", arch: "amd64", triple: "x86_64-apple-darwin" },
    Target { os: "darwin", arch: "arm64", triple: "aarch64-apple-darwin" },
];

/// An archive that was made.
struct Packed {
    platform: String,
    name: String,
    sha256: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let out = root().join(&args.out);
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut packed = Vec::new();
    for target in &TARGETS {
        match binary(target, args)? {
            Some(binary) => packed.push(pack(target, &binary, &out)?),
            None => say(&format!("left out: {}/{}, since this machine cannot build {}", target.os, target.arch, target.triple)),
        }
    }
    write_sums(&packed, &out)?;
    write_manifest(&packed, &out)?;
    print(&out.display().to_string())
}

/// Builds the plugin for a platform, if this machine can.
fn binary(target: &Target, args: &Args) -> Outcome<Option<PathBuf>> {
    let native = cfg!(all(target_os = "linux", target_arch = "x86_64")) && (target.os, target.arch) == ("linux", "amd64");
    match &args.binary {
        Some(given) if native => return Ok(Some(given.clone())),
        Some(_) => return Ok(None),
        None => {}
    }
    if !native && (!has_target(target.triple) || !has_linker(target.triple)) {
        return Ok(None);
    }
    heading(&format!("building {BINARY} for {}/{}", target.os, target.arch));
    run_command(cargo().args(["build", "--release", "--locked", "--package", BINARY, "--target", target.triple]))?;
    Ok(Some(root().join("target").join(target.triple).join("release").join(BINARY)))
}

fn has_target(triple: &str) -> bool {
    let sysroot = capture(std::process::Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    Path::new(&sysroot).join("lib/rustlib").join(triple).join("lib").is_dir()
}

/// Another platform's linker is what the developer configured for cargo.
fn has_linker(triple: &str) -> bool {
    std::env::var_os(format!("CARGO_TARGET_{}_LINKER", triple.replace('-', "_").to_uppercase())).is_some()
}

/// An archive that is the same for the same files, whoever makes it, when and where. krew takes plain files and folders only.
fn pack(target: &Target, binary: &Path, out: &Path) -> Outcome<Packed> {
    let name = format!("{BINARY}-{}-{}.tar.gz", target.os, target.arch);
    let files = [
        ("LICENSE".to_owned(), root().join("LICENSE"), 0o644),
        ("README.md".to_owned(), root().join("README.md"), 0o644),
        (BINARY.to_owned(), binary.to_path_buf(), 0o755),
    ];
    let mut archive = Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::best()));
    for (entry, path, mode) in files {
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, &entry, bytes.as_slice()).map_err(|e| format!("{name}: {e}"))?;
    }
    let bytes = archive.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(|e| format!("{name}: {e}"))?;
    File::create(out.join(&name)).and_then(|mut file| file.write_all(&bytes)).map_err(|e| format!("{name}: {e}"))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok(Packed { platform: format!("{}/{}", target.os, target.arch), name, sha256 })
}

fn write_sums(packed: &[Packed], out: &Path) -> Outcome {
    let lines: String = packed.iter().map(|p| format!("{}  {}\n", p.sha256, p.name)).collect();
    fs::write(out.join("SHA256SUMS"), lines).map_err(|e| format!("SHA256SUMS: {e}"))
}

/// Fills in version and sums; a platform without an archive is left out, since krew would offer it.
fn write_manifest(packed: &[Packed], out: &Path) -> Outcome {
    let template = root().join("krew/dbmig.yaml");
    let text = fs::read_to_string(&template).map_err(|e| format!("{}: {e}", template.display()))?;
    let (head, platforms) = text.split_once("  platforms:\n").ok_or("krew/dbmig.yaml: no `platforms:` line")?;
    let mut manifest = format!("{head}  platforms:\n");
    for block in platforms.split_inclusive('\n').fold(Vec::<String>::new(), by_item) {
        for made in packed.iter().filter(|made| block.contains(&made.name)) {
            manifest += &block.replace("@SHA256@", &made.sha256);
            say(&format!("packed {}: {}", made.platform, made.name));
        }
    }
    fs::write(out.join("dbmig.yaml"), manifest.replace("@VERSION@", concat!("v", env!("CARGO_PKG_VERSION"))))
        .map_err(|e| format!("dbmig.yaml: {e}"))
}

/// Gathers the lines of a YAML list into its items.
fn by_item(mut items: Vec<String>, line: &str) -> Vec<String> {
    match items.last_mut() {
        Some(item) if !line.starts_with("    - ") => item.push_str(line),
        _ => items.push(line.to_owned()),
    }
    items
}
