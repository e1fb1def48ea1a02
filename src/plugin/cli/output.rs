//! How the result is shown: the flags that every command with a result has. The printing itself is [`crate::ui`]'s.

use clap::Args;

use crate::ui::Format;

/// Formats that `-o` takes.
const FORMATS: [(&str, Format); 5] =
    [("json", Format::Json), ("name", Format::Name), ("table", Format::Table), ("wide", Format::Wide), ("yaml", Format::Yaml)];

/// `-o` and `--no-headers`.
#[derive(Args, Debug, Clone, Copy, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Show the result as table, wide, json, yaml or name
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_parser = format, default_value = "table", hide_default_value = true)]
    pub format: Format,
    /// Leave out the table's head
    #[arg(long)]
    pub no_headers: bool,
}

/// `-o` alone, where the result is one object that needs no head.
#[derive(Args, Debug, Clone, Copy, Default)]
#[command(next_help_heading = "Output")]
pub struct FormatArg {
    /// Show the result as json, yaml, table or name; with json, progress comes as one JSON object per line
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_parser = format, default_value = "table", hide_default_value = true)]
    pub format: Format,
}

/// Wording of the error as in kubectl (`cli-runtime`, `genericclioptions.IsNoCompatiblePrinterError`).
fn format(text: &str) -> Result<Format, String> {
    FORMATS.iter().find(|(name, _)| *name == text).map(|(_, format)| *format).ok_or_else(|| {
        let allowed = FORMATS.map(|(name, _)| name).join(",");
        format!(
            "unable to match a printer suitable for the output format \"{}\", allowed formats are: {allowed}",
            text.escape_default()
        )
    })
}
