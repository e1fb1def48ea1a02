//! Checksums of migrations' files, as the frameworks that write them down compute them. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha384};

use super::available::file_name;
use super::finding::{Finding, Level};
use super::{Available, Framework, Script, State};

/// Checksums that a row may have, by the migration's id: those of its file with each kind of line ends, where the framework does
/// not mind them.
pub(super) type Sums = BTreeMap<String, Vec<String>>;

/// The checksums of files; empty for frameworks that write down none, or one that can't be told from the file alone.
pub(super) fn sums(framework: Framework, available: &[Available], scripts: &[Script]) -> Sums {
    let text = |one: &Available| scripts.iter().find(|script| script.path == one.path).map(|script| script.text.as_str());
    let each =
        |of: fn(&str) -> Vec<String>| available.iter().filter_map(|one| Some((one.id.clone(), of(text(one)?)))).collect::<Sums>();
    match framework {
        Framework::Flyway => {
            let mut sums = each(|text| vec![flyway(text).to_string()]);
            // Of what runs again with each change, the placeholders are put in first.
            sums.retain(|id, _| !id.starts_with("R__"));
            sums
        }
        Framework::Prisma => each(prisma),
        Framework::Sqlx => each(|text| vec![dbmig_wire::hex(&Sha384::digest(text))]),
        Framework::Atlas => atlas(available, scripts),
        _ => Sums::new(),
    }
}

/// flyway/flyway, `ChecksumCalculator`: CRC-32 over the lines without their ends, as a number with a sign.
fn flyway(text: &str) -> i32 {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sum = flate2::Crc::new();
    text.replace("\r\n", "\n").split(['\n', '\r']).for_each(|line| sum.update(line.as_bytes()));
    sum.sum().cast_signed()
}

/// prisma/prisma-engines, `checksum.rs`: SHA-256, and git may have changed the line ends.
fn prisma(text: &str) -> Vec<String> {
    let unix = text.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    [text, &unix, &windows].map(|text| dbmig_wire::hex(&Sha256::digest(text))).to_vec()
}

/// ariga/atlas, `sql/migrate/dir.go`, `NewHashFile`: one SHA-256 goes on over the names and texts of all files in their order; a file
/// has what it is after it.
fn atlas(available: &[Available], scripts: &[Script]) -> Sums {
    let mut files: Vec<&Script> = scripts.iter().filter(|script| script.path.ends_with(".sql")).collect();
    files.sort_by_key(|script| file_name(&script.path));
    let (mut sum, mut sums) = (Sha256::new(), Sums::new());
    for file in files {
        sum.update(file_name(&file.path));
        if file.text.lines().any(|line| line.trim() == "-- atlas:sum ignore") {
            continue;
        }
        sum.update(&file.text);
        if let Some(one) = available.iter().find(|one| one.path == file.path) {
            sums.insert(one.id.clone(), vec![STANDARD.encode(sum.clone().finalize())]);
        }
    }
    sums
}

/// Notes the applied migrations whose files are not what was applied.
pub(super) fn compare(state: &mut State, sums: &Sums) {
    let framework = state.framework;
    let fits = |applied: &super::Applied| {
        let (ours, recorded) = (sums.get(&applied.id)?, applied.checksum.as_ref()?);
        // Old versions wrote sums in other forms. Flyway's is a number, which may have any length.
        let is_comparable = framework == Framework::Flyway || ours.iter().any(|one| one.len() == recorded.len());
        is_comparable.then(|| ours.contains(recorded))
    };
    let judged: Vec<(String, bool)> =
        state.applied.iter().filter_map(|applied| Some((applied.id.clone(), fits(applied)?))).collect();
    let mut changed: Vec<String> = judged.iter().filter(|(_, fits)| !fits).map(|(id, _)| id.clone()).collect();
    if state.framework == Framework::Atlas {
        // After the first that differs all do. Where none fits, the files were hashed in another way.
        changed.truncate(usize::from(judged.iter().any(|(_, fits)| *fits)));
    }
    state.changed = changed;
    state.notes.extend(finding(state));
}

fn finding(state: &State) -> Option<Finding> {
    let first = state.changed.first()?;
    let more = state.changed.len() - 1;
    let what = match more {
        0 => format!("{}: the file of migration {first} is not what was applied: its checksum differs", state.framework),
        more => format!("{}: the files of migration {first} and {more} more are not what was applied", state.framework),
    };
    let recorded = state.applied.iter().find(|applied| applied.id == *first).and_then(|applied| applied.checksum.as_deref());
    let evidence = format!("{} has {} for it", state.table, recorded.unwrap_or("none"));
    // The others go on with a warning, or none.
    let level = if matches!(state.framework, Framework::Flyway | Framework::Sqlx) { Level::Broken } else { Level::Attention };
    let finding = Finding::new(level, what)
        .evidence(evidence)
        .next("run the image whose file it is, or put the file back as it was: what is to change goes into a new migration");
    Some(match state.framework {
        Framework::Flyway => {
            finding.next("flyway repair   # takes the new file for what was applied, once you know that both do the same")
        }
        _ => finding,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "CREATE TABLE users (\n  id int\n);\n";

    fn files(paths: &[(&str, &str, &str)]) -> (Vec<Available>, Vec<Script>) {
        let available = paths.iter().map(|(id, path, _)| Available {
            id: (*id).into(),
            name: (*id).into(),
            path: (*path).into(),
            ..Available::default()
        });
        let scripts = paths.iter().map(|(_, path, text)| Script { path: (*path).into(), text: (*text).into() });
        (available.collect(), scripts.collect())
    }

    /// The expected ones were computed by Python's zlib and hashlib.
    #[test]
    fn each_framework_has_its_own_sum() {
        let (available, scripts) =
            files(&[("1", "m/1_users.sql", USERS), ("2", "m/2_orders.sql", "CREATE TABLE orders (id int);\n")]);
        let of = |framework| sums(framework, &available, &scripts);
        assert_eq!(of(Framework::Flyway)["1"], ["1043533331"]);
        assert_eq!(of(Framework::Prisma)["1"][0], "fe7ea682268b44dd330ec4d6c3b8a9cab76e7f727cf1dc2912876dfb024073db");
        assert_eq!(
            of(Framework::Sqlx)["1"],
            ["1c05c07ed079f1902c6fe5c4d2d60c1fdee49984f32e7c0bfeaa40010fc36c129da54dd5b80d6501da77fbcd2be1a845"]
        );
        assert_eq!(of(Framework::Atlas)["1"], ["PcdXB1qolW4aUHsjdTJiYRlnSMb6ysyz600Alzf0bEQ="]);
        assert_eq!(of(Framework::Atlas)["2"], ["GERUPOudd4jJw+f6U6Palo6kwCYCqa02uXra5l70A44="]);
        assert!(of(Framework::Knex).is_empty());
    }

    #[test]
    fn line_ends_and_marks_of_byte_order_do_not_count_where_the_framework_does_not_mind() {
        assert_eq!(flyway(USERS), flyway(&format!("\u{feff}{}", USERS.replace('\n', "\r\n"))));
        assert!(prisma(&USERS.replace('\n', "\r\n")).contains(&prisma(USERS)[0]));
    }
}
