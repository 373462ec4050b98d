//! Errors of a configuration file, each with its place, and how they look.

use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str,
};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::place::{Position, Span, on_one_line};

/// One error.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// What is wrong, without the place.
    pub message: String,
    /// Where; none where the file as a whole is meant (it cannot be read).
    pub span: Option<Span>,
    /// Said beside the caret.
    pub label: Option<String>,
    /// A second place that explains the first, and what to say there.
    pub related: Option<(Span, String)>,
    /// The fix, where there is one.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn at(span: &Span, message: impl Into<String>) -> Self {
        Diagnostic {
            message: message.into(),
            span: Some(span.clone()),
            label: None,
            related: None,
            help: None,
        }
    }

    /// An error of the whole file.
    pub fn of_file(message: impl Into<String>) -> Self {
        Diagnostic {
            span: None,
            ..Diagnostic::at(&(0..0), message)
        }
    }

    /// With words beside the caret.
    pub fn label(self, label: impl Into<String>) -> Self {
        Diagnostic {
            label: Some(label.into()),
            ..self
        }
    }

    /// With a second place.
    pub fn related(self, span: &Span, label: impl Into<String>) -> Self {
        Diagnostic {
            related: Some((span.clone(), label.into())),
            ..self
        }
    }

    /// With the fix.
    pub fn help(self, help: impl Into<String>) -> Self {
        Diagnostic {
            help: Some(help.into()),
            ..self
        }
    }
}

/// Everything that is wrong with one file, in the order of the file; never empty.
///
/// `Display` renders without colour; [`Diagnostics::render`] has it on request. Serializes as
/// `{"file", "errors": [{"message", "line", "column", "end_column", "text", "label", "help", "related"}]}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    path: PathBuf,
    text: String,
    errors: Vec<Diagnostic>,
}

impl Diagnostics {
    /// `errors` of the file `path`, whose content is `text`.
    pub(super) fn new(path: &Path, text: &str, mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by_key(|error| error.span.as_ref().map(|span| (span.start, span.end)));
        errors.dedup();
        Diagnostics {
            path: path.to_owned(),
            text: text.to_owned(),
            errors,
        }
    }

    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// All errors as a person reads them, ending with a newline; with terminal colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for error in &self.errors {
            out.push_str(&renderer.render(&[self.group(error)]));
            out.push_str("\n\n");
        }
        out.push_str(&self.total());
        out
    }

    fn total(&self) -> String {
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        format!("{}: {count} {noun}\n", self.path.display())
    }

    fn group<'a>(&'a self, error: &'a Diagnostic) -> Group<'a> {
        let group = Level::ERROR
            .primary_title(error.message.as_str())
            .elements(self.snippet(error));
        match &error.help {
            // The renderer defuses control characters everywhere but here.
            Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(help))),
            None => group,
        }
    }

    /// The lines around both places. Only they are handed to the renderer, which reads all it gets.
    fn snippet<'a>(&'a self, error: &'a Diagnostic) -> Option<Snippet<'a, Annotation<'a>>> {
        let primary = on_one_line(&self.text, error.span.as_ref()?);
        let related = error
            .related
            .as_ref()
            .map(|(span, label)| (on_one_line(&self.text, span), label.as_str()));
        let window = self.window(&primary, related.as_ref().map(|(span, _)| span));
        let shift = |span: &Span| span.start - window.start..span.end - window.start;
        let mut snippet = Snippet::source(&self.text[window.clone()])
            .line_start(Position::of(&self.text, window.start).line)
            .path(self.path.display().to_string())
            .annotation(
                AnnotationKind::Primary
                    .span(shift(&primary))
                    .label(error.label.as_deref()),
            );
        if let Some((span, label)) = &related {
            snippet = snippet.annotation(AnnotationKind::Context.span(shift(span)).label(*label));
        }
        Some(snippet)
    }

    /// Whole lines that hold both spans.
    fn window(&self, primary: &Span, related: Option<&Span>) -> Span {
        let start = related.map_or(primary.start, |other| other.start.min(primary.start));
        let end = related.map_or(primary.end, |other| other.end.max(primary.end));
        let start = self.text[..start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let end = self.text[end..]
            .find('\n')
            .map_or(self.text.len(), |newline| end + newline);
        start..end
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostics", 2)?;
        out.serialize_field("file", &self.path.display().to_string())?;
        let errors: Vec<JsonError<'_>> = self
            .errors
            .iter()
            .map(|error| JsonError {
                message: &error.message,
                place: error
                    .span
                    .as_ref()
                    .map(|span| JsonPlace::of(&self.text, span)),
                label: error.label.as_deref(),
                help: error.help.as_deref(),
                related: error.related.as_ref().map(|(span, label)| JsonRelated {
                    place: JsonPlace::of(&self.text, span),
                    label,
                }),
            })
            .collect();
        out.serialize_field("errors", &errors)?;
        out.end()
    }
}

#[derive(Serialize)]
struct JsonError<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Option<JsonPlace<'a>>,
    label: Option<&'a str>,
    help: Option<&'a str>,
    related: Option<JsonRelated<'a>>,
}

#[derive(Serialize)]
struct JsonRelated<'a> {
    #[serde(flatten)]
    place: JsonPlace<'a>,
    label: &'a str,
}

#[derive(Serialize)]
struct JsonPlace<'a> {
    line: usize,
    column: usize,
    end_column: usize,
    text: &'a str,
}

impl<'a> JsonPlace<'a> {
    fn of(text: &'a str, span: &Span) -> Self {
        let span = on_one_line(text, span);
        let start = Position::of(text, span.start);
        let text = &text[span];
        JsonPlace {
            line: start.line,
            column: start.column,
            end_column: start.column + text.chars().count(),
            text,
        }
    }
}
