//! The one place that prints.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use owo_colors::{AnsiColors, OwoColorize as _};
use serde::Serialize;

use super::args::{ColorChoice, Format, Global};
use super::error::CliError;
use super::human::{lines, printable};

/// Where a command prints: results to the one side, remarks and errors to the other.
pub(crate) struct Terminal {
    out: Side,
    err: Side,
    format: Format,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("format", &self.format).finish_non_exhaustive()
    }
}

struct Side {
    writer: Box<dyn Write + Send>,
    paint: Paint,
    is_terminal: bool,
}

/// Colours text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// On the way, or worth a look.
    Notice,
    /// Wrong.
    Bad,
    /// Of no importance.
    Faint,
    /// Nothing special.
    Plain,
}

impl Paint {
    /// Leaves all text alone.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(false)
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn tone(self, tone: Tone, text: impl Display) -> String {
        let colour = match tone {
            Tone::Good => AnsiColors::Green,
            Tone::Notice => AnsiColors::Yellow,
            Tone::Bad => AnsiColors::Red,
            Tone::Faint => AnsiColors::BrightBlack,
            Tone::Plain => return text.to_string(),
        };
        if self.0 { text.color(colour).to_string() } else { text.to_string() }
    }

    /// `text` in bold.
    pub(crate) fn bold(self, text: impl Display) -> String {
        if self.0 { text.bold().to_string() } else { text.to_string() }
    }
}

impl Terminal {
    /// Standard output and standard error of this process.
    pub(crate) fn stdio(global: &Global) -> Self {
        let colours = |is_terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && environment_allows_colour(),
        };
        let (out, err) = (io::stdout(), io::stderr());
        let (out_is, err_is) = (out.is_terminal(), err.is_terminal());
        Self {
            out: Side { writer: Box::new(out), paint: Paint(colours(out_is)), is_terminal: out_is },
            err: Side { writer: Box::new(err), paint: Paint(colours(err_is)), is_terminal: err_is },
            format: global.output,
        }
    }

    /// Prints to the given writers, as if they were no terminals.
    #[cfg(test)]
    pub(crate) fn to(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        format: Format,
    ) -> Self {
        let side = |writer| Side { writer, paint: Paint(false), is_terminal: false };
        Self { out: side(Box::new(out)), err: side(Box::new(err)), format }
    }

    /// Whether results are for machines.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether remarks are read by a person, now.
    pub(crate) fn shows_progress(&self) -> bool {
        self.err.is_terminal
    }

    /// Whether results are read by a person, now.
    pub(crate) fn is_read_by_a_person(&self) -> bool {
        self.out.is_terminal && !self.is_json()
    }

    /// How to colour results.
    pub(crate) fn paint(&self) -> Paint {
        self.out.paint
    }

    /// How to colour remarks.
    pub(crate) fn remark_paint(&self) -> Paint {
        self.err.paint
    }

    /// Prints one line of the result.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), CliError> {
        writeln!(self.out.writer, "{text}").map_err(CliError::Output)
    }

    /// Prints text of the result as it is.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.writer.write_all(bytes).and_then(|()| self.out.writer.flush()).map_err(CliError::Output)
    }

    /// Prints one JSON document on one line.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec(document).map_err(CliError::Encode)?;
        text.push(b'\n');
        self.raw(&text)
    }

    /// Prints one JSON document with indentation, for people.
    pub(crate) fn pretty(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec_pretty(document).map_err(CliError::Encode)?;
        text.push(b'\n');
        self.raw(&text)
    }

    /// Prints a table; nothing but its header when it has no rows.
    pub(crate) fn table(&mut self, mut table: Table) -> Result<(), CliError> {
        if self.out.is_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            // Whoever reads a pipe wants one line for each row.
            table.set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        }
        if self.out.paint.0 {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let text = table.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
        self.raw(text.as_bytes())
    }

    /// Makes room for a result that takes the place of the one before, where that can be.
    pub(crate) fn start_over(&mut self) -> Result<(), CliError> {
        match self.out.is_terminal {
            // To the upper left corner, and everything behind it is gone.
            true => self.raw(b"\x1b[H\x1b[J"),
            false => self.line(""),
        }
    }

    /// Asks something, without an end of the line. That it cannot be asked is no reason to stop.
    pub(crate) fn ask(&mut self, question: impl Display) {
        let _ = write!(self.err.writer, "{question} ").and_then(|()| self.err.writer.flush());
    }

    /// Says something that is no result. That it cannot be said is no reason to stop.
    pub(crate) fn remark(&mut self, text: impl Display) {
        let _ = writeln!(self.err.writer, "{text}");
    }

    /// Says why the command failed and what to do next.
    pub(crate) fn error(&mut self, error: &CliError) {
        if error.is_silent() {
            return;
        }
        if self.is_json() {
            let _ = writeln!(self.err.writer, "{}", error.to_json());
            return;
        }
        let paint = self.err.paint;
        let mut told = error.to_string();
        let _ = writeln!(self.err.writer, "{} {}", paint.tone(Tone::Bad, "error:"), lines(&told));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors say what caused them themselves.
            if !told.contains(&text) {
                let _ = writeln!(self.err.writer, "  caused by: {}", lines(&text));
                told = text;
            }
            source = cause.source();
        }
        for note in error.notes() {
            let _ = writeln!(self.err.writer, "  {}", lines(&note));
        }
        if let Some(help) = error.help() {
            let _ = writeln!(self.err.writer, "  {} {}", paint.tone(Tone::Good, "next:"), lines(&help));
        }
    }
}

fn environment_allows_colour() -> bool {
    let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    said("NO_COLOR").is_none() && said("TERM").is_none_or(|term| term != "dumb")
}

/// A table with columns of these names.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(comfy_table::Attribute::Bold)));
    let mut columns = table.column_iter_mut().peekable();
    while let Some(column) = columns.next() {
        let right = if columns.peek().is_some() { 2 } else { 0 };
        column.set_padding((0, right));
    }
    table
}

/// A cell that holds text from elsewhere.
pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    let text = printable(text.as_ref());
    Cell::new(if text.is_empty() { "-".to_owned() } else { text })
}

/// A cell that holds a number.
pub(crate) fn number(value: u64) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// A cell in the colour of `tone`.
pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Cell {
    let cell = cell(text);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Notice => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Faint => cell.fg(Color::DarkGrey),
        Tone::Plain => cell,
    }
}

/// Keeps what is written to it, for tests.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// What was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
