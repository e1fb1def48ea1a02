//! From what was typed to what is meant: `repair`, and the words of other tools that stand for one.

use crate::cli::repair::HowArgs;
use crate::cli::{force, repair, stamp, unlock};
use crate::cluster::kind::TargetRef;
use crate::failure::{Failure, Result};
use crate::framework::Wish;

/// A repair that a user wants.
pub(in crate::command) struct Order {
    /// What to work on.
    pub(super) target: TargetRef,
    /// What was asked for by name: the first that can be had. Nothing: whatever is wrong.
    pub(super) wishes: Vec<Wish>,
    /// How.
    pub(super) how: HowArgs,
}

impl TryFrom<repair::Args> for Order {
    type Error = Failure;

    fn try_from(args: repair::Args) -> Result<Self> {
        Ok(Self { target: TargetRef::parse(&args.target)?, wishes: args.wish().into_iter().collect(), how: args.how })
    }
}

impl TryFrom<force::Args> for Order {
    type Error = Failure;

    fn try_from(args: force::Args) -> Result<Self> {
        let (target, version) = apart(args.target, "force")?;
        Ok(Self { target, wishes: force::Args::wishes(version), how: HowArgs { force: true, ..args.how } })
    }
}

impl TryFrom<stamp::Args> for Order {
    type Error = Failure;

    fn try_from(args: stamp::Args) -> Result<Self> {
        let (target, version) = apart(args.target, "stamp")?;
        Ok(Self { target, wishes: vec![Wish::Stamp(version)], how: args.how })
    }
}

impl TryFrom<unlock::Args> for Order {
    type Error = Failure;

    fn try_from(args: unlock::Args) -> Result<Self> {
        Ok(Self { target: TargetRef::parse(&args.target)?, wishes: vec![Wish::Unlock], how: args.how })
    }
}

/// The target and, behind it, the version. Who comes from another tool may type the version first.
fn apart(mut words: Vec<String>, verb: &str) -> Result<(TargetRef, String)> {
    let version = words.pop().unwrap_or_default();
    match words.as_slice() {
        [first] if version.contains('/') && !first.contains('/') => Err(Failure::usage("the target comes before the version")
            .state("nothing was changed")
            .next(format!("kubectl dbmig {verb} {version} {first}"))),
        _ => Ok((TargetRef::parse(&words)?, version)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        force: force::Args,
    }

    fn ordered(words: &[&str]) -> Result<Order> {
        Line::try_parse_from([&["x"], words].concat()).unwrap_or_else(|e| panic!("{e}")).force.try_into()
    }

    #[test]
    fn the_last_word_is_the_version_wherever_flags_stand() {
        for words in [&["sts/shop", "4"][..], &["sts", "shop", "4"], &["--yes", "sts/shop", "4"], &["sts/shop", "4", "--yes"]] {
            let order = ordered(words).unwrap();
            assert_eq!(order.target.to_string(), "statefulset/shop", "{words:?}");
            assert_eq!(order.wishes, [Wish::To("4".to_owned()), Wish::Stamp("4".to_owned())]);
            assert!(order.how.force);
        }
        assert_eq!(ordered(&["shop", "-1"]).unwrap().wishes[0], Wish::To("none".to_owned()));
    }

    #[test]
    fn the_order_of_other_tools_is_set_right() {
        let Err(failure) = ordered(&["4", "sts/shop"]) else { panic!("it was taken") };
        assert_eq!(failure.next, ["kubectl dbmig force sts/shop 4"]);
    }
}
