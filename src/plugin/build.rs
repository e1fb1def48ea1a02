//! Builds the helper binary for the pod (`dbmig-agent`) and packs it into the plugin.
//!
//! amd64 is built here, static; `DBMIG_AGENT_AMD64` and `DBMIG_AGENT_ARM64` name prebuilt ones instead. An
//! architecture that is neither built nor given is left out, and the plugin says so when a node needs it.

#[allow(unreachable_pub, reason = "it is public where it comes from")]
#[path = "../wire/hex.rs"]
mod hex;

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Largest agent that still gets into a pod in a moment: 3.5 MiB.
const MOST_BYTES: u64 = 7 << 19;

/// What no database needs to be copied and checked, and what would bring the dynamic loader in. Virtual tables are copied
/// without their modules; FTS5 and R-Tree stay because `integrity_check` looks into theirs.
const SQLITE_FLAGS: &str = "-USQLITE_ENABLE_LOAD_EXTENSION -DSQLITE_OMIT_LOAD_EXTENSION -USQLITE_ENABLE_STAT4 \
    -USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_SOUNDEX -USQLITE_ENABLE_API_ARMOR";

/// Nothing unwinds C code in a binary that aborts on panic, and its tables would be a twentieth of the agent.
const C_FLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables";

fn main() -> Result<()> {
    for path in ["src/agent", "src/wire", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut table = String::from("&[");
    for arch in ["amd64", "arm64"] {
        if let Some(agent) = agent(arch, &out)? {
            table += &packed(arch, &agent, &out)?;
        }
    }
    table += "]";
    fs::write(out.join("agents.rs"), table)?;
    Ok(())
}

fn agent(arch: &str, out: &Path) -> Result<Option<PathBuf>> {
    let variable = format!("DBMIG_AGENT_{}", arch.to_uppercase());
    println!("cargo::rerun-if-env-changed={variable}");
    if let Some(path) = env::var_os(&variable).map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", path.display());
        return Ok(Some(path));
    }
    let host = env::var("HOST")?;
    if arch == "amd64" && host.starts_with("x86_64-") && host.contains("-linux-") { build(out).map(Some) } else { Ok(None) }
}

/// Builds it with a cargo of its own, in a folder that all profiles share.
fn build(out: &Path) -> Result<PathBuf> {
    // OUT_DIR is TARGET/PROFILE/build/NAME/out (one level more with --target).
    let shared = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap_or(out).join("payload");
    // musl where the toolchain has it, else the C library linked in: either way nothing is needed at run time.
    let target = if musl_is_there() { "x86_64-unknown-linux-musl" } else { "x86_64-unknown-linux-gnu" };
    let c_flags = format!("CFLAGS_{}", target.replace('-', "_"));
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--locked", "--package", "dbmig-agent", "--profile", "agent", "--target", target, "--target-dir"])
        .arg(&shared)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--strip-all")
        .env("LIBSQLITE3_FLAGS", SQLITE_FLAGS)
        .env(&c_flags, [&env::var(&c_flags).unwrap_or_default(), C_FLAGS].join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTDOCFLAGS")
        .status()?;
    if !status.success() {
        return Err("the helper binary dbmig-agent could not be built, see above".into());
    }
    let agent = shared.join(target).join("agent/dbmig-agent");
    let bytes = fs::metadata(&agent)?.len();
    if bytes > MOST_BYTES {
        return Err(format!("dbmig-agent has {bytes} bytes, more than the {MOST_BYTES} it may have").into());
    }
    Ok(agent)
}

fn musl_is_there() -> bool {
    let sysroot = Command::new(env::var("RUSTC").unwrap_or_else(|_| "rustc".into())).args(["--print", "sysroot"]).output();
    let has_std = sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-musl/lib").is_dir()
    });
    has_std && Command::new("musl-gcc").arg("--version").output().is_ok()
}

/// Compresses one agent and returns its line for the table in `cluster::payload`.
fn packed(arch: &str, agent: &Path, out: &Path) -> Result<String> {
    let bytes = fs::read(agent).map_err(|error| format!("{}: {error}", agent.display()))?;
    let file = out.join(format!("agent-{arch}.gz"));
    let mut encoder = GzEncoder::new(File::create(&file)?, Compression::best());
    std::io::Write::write_all(&mut encoder, &bytes)?;
    encoder.finish()?;
    let mut line = String::new();
    let digest = hex::hex(&Sha256::digest(&bytes));
    write!(line, "Payload {{ arch: {arch:?}, bytes: {}, sha256: {digest:?}, packed: include_bytes!({file:?}) }},", bytes.len())?;
    Ok(line)
}
