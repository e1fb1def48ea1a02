//! The archive and manifest of this build, checked by krew's own rules (its index/validation and download packages), installed as krew does
//! and run through kubectl. Never contacts a release.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::Run;

/// Platforms that krew's index accepts.
const KNOWN: [(&str, &[&str]); 3] = [
    ("windows", &["386", "amd64", "arm64"]),
    ("linux", &["386", "amd64", "arm", "arm64", "ppc64le"]),
    ("darwin", &["amd64", "arm64"]),
];

/// Packs this build's binary; the folder with the results.
fn pack(out: &Path) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut xtask = Command::new(env!("CARGO"));
    xtask.current_dir(root).args(["xtask", "dist", "--binary", env!("CARGO_BIN_EXE_kubectl-dbmig"), "--out"]).arg(out);
    let run = Run::of(&mut xtask);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

fn manifest(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the manifest is YAML")
}

/// What is wrong by krew's rules.
fn findings(manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut require = |holds: bool, rule: &str| {
        if !holds {
            found.push(rule.to_owned());
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &manifest["spec"];
    require(manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2", "apiVersion");
    require(manifest["kind"] == "Plugin", "kind");
    require(manifest["metadata"]["name"] == "dbmig", "the name is the file's");
    require(is_version(&text(&spec["version"])), "version is semver with a leading v");
    let short = text(&spec["shortDescription"]);
    require(!short.is_empty() && !short.contains('\n') && short.len() <= 50, "shortDescription is one short line");
    require(text(&spec["description"]).lines().all(|line| line.len() <= 80), "description is wrapped at 80");
    let platforms = spec["platforms"].as_array().cloned().unwrap_or_default();
    require(!platforms.is_empty(), "at least one platform");
    let mut seen = HashSet::new();
    for platform in &platforms {
        let labels = platform["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
        require(labels.keys().all(|key| key == "os" || key == "arch") && !labels.is_empty(), "selector has os and arch only");
        let (os, arch) = (text(&platform["selector"]["matchLabels"]["os"]), text(&platform["selector"]["matchLabels"]["arch"]));
        require(KNOWN.iter().any(|(o, archs)| *o == os && archs.contains(&arch.as_str())), "a platform that krew knows");
        require(seen.insert((os, arch)), "no pair matches two platforms");
        let sum = text(&platform["sha256"]);
        require(
            sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "sha256 is 64 lower-case hex digits",
        );
        require(text(&platform["uri"]).starts_with("https://"), "uri");
        require(!text(&platform["bin"]).is_empty(), "bin");
        let files = platform["files"].as_array().cloned().unwrap_or_default();
        require(!files.is_empty(), "files is absent or not empty");
        require(
            files.iter().all(|f| !text(&f["from"]).is_empty() && is_clean(&text(&f["to"]))),
            "files have from and a clean to",
        );
    }
    found
}

fn is_version(version: &str) -> bool {
    let Some(numbers) = version.strip_prefix('v') else { return false };
    let core = numbers.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u64>().is_ok_and(|n| n.to_string() == *part))
}

fn is_clean(path: &str) -> bool {
    path == "." || (!path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_))))
}

/// Unpacks as krew does: regular files and folders only, nothing outside.
fn unpack(archive: &Path, to: &Path) -> Vec<String> {
    let bytes = std::fs::read(archive).expect("the archive is there");
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut tar).expect("it is gzip");
    let mut names = Vec::new();
    let mut at = 0;
    while tar.get(at).is_some_and(|byte| *byte != 0) {
        let header = &tar[at..at + 512];
        let field = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_matches(['\0', ' ']).to_owned();
        let octal = |range| usize::from_str_radix(&field(range), 8).expect("an octal number");
        assert_eq!(&header[257..262], b"ustar", "plain ustar");
        assert!(matches!(header[156], b'0' | b'5'), "only files and folders, not type {:?}", header[156] as char);
        let (name, size, mode) = (field(0..100), octal(124..136), octal(100..108));
        assert!(is_clean(&name), "{name}");
        assert_eq!(
            (octal(108..116), octal(116..124), octal(136..148)),
            (0, 0, 0),
            "{name}: owner, group and time say nothing of this machine"
        );
        let path = to.join(&name);
        std::fs::write(&path, &tar[at + 512..at + 512 + size]).expect("unpacks");
        let mode = u32::try_from(mode).expect("a mode");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("sets the mode");
        names.push(name);
        at += 512 + size.div_ceil(512) * 512;
    }
    names
}

#[test]
fn this_builds_archive_installs_as_krew_does_and_runs_through_kubectl() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (out, store, bin) = (dir.path().join("dist"), dir.path().join("store"), dir.path().join("bin"));
    pack(&out);
    for folder in [&store, &bin] {
        std::fs::create_dir(folder).expect("makes a folder");
    }
    let manifest = manifest(&std::fs::read_to_string(out.join("dbmig.yaml")).expect("dist writes a manifest"));
    assert_eq!(findings(&manifest), Vec::<String>::new());

    let platform = &manifest["spec"]["platforms"][0];
    let name = platform["uri"].as_str().and_then(|uri| uri.rsplit('/').next()).expect("a uri with a file name");
    let archive = out.join(name);
    let digest = dbmig_wire::hex(&Sha256::digest(std::fs::read(&archive).expect("reads")));
    assert_eq!(platform["sha256"], digest);
    let sums = std::fs::read_to_string(out.join("SHA256SUMS")).expect("dist writes the sums");
    assert!(sums.contains(&format!("{digest}  {name}")), "{sums}");

    let names = unpack(&archive, &store);
    assert_eq!(names, ["LICENSE", "README.md", "kubectl-dbmig"], "sorted names");
    let entry: PathBuf = store.join(platform["bin"].as_str().expect("a bin"));
    std::os::unix::fs::symlink(&entry, bin.join("kubectl-dbmig")).expect("links");
    let path =
        std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())));
    let run =
        Run::of(Command::new("kubectl").env("PATH", path.expect("a PATH")).args(["dbmig", "version", "--client", "-o", "json"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", run.stdout);
}

#[test]
fn a_manifest_that_breaks_a_rule_of_krew_is_found() {
    let template = include_str!("../../krew/dbmig.yaml");
    let good = template.replace("@VERSION@", "v1.2.3").replace("@SHA256@", &"a".repeat(64));
    assert_eq!(findings(&manifest(&good)), Vec::<String>::new());
    for (from, to, rule) in [
        ("v1.2.3\"", "1.2.3\"", "version"),
        ("name: dbmig", "name: other", "the name is the file's"),
        ("arch: arm64", "arch: amd64", "no pair matches two platforms"),
        ("os: darwin", "os: plan9", "a platform that krew knows"),
        ("to: .", "to: ../out", "clean to"),
        (&"a".repeat(64), "ABC", "sha256"),
    ] {
        let broken = findings(&manifest(&good.replace(from, to)));
        assert!(broken.iter().any(|finding| finding.contains(rule)), "{from} -> {to}: {broken:?}");
    }
}
