//! Reads one table of the file key by key and collects what is wrong with it.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::place::{Placed, Span};
use super::schema::{Key, Presence, SECTIONS, Section};
use super::suggest::nearest;
use super::value::{Reject, integer};

/// Errors found so far. Reading goes on after one, so that all are shown at once.
pub struct Errors {
    found: RefCell<Vec<Diagnostic>>,
    whole: bool,
}

impl Errors {
    /// Of a file that is read from end to end.
    pub fn of_whole() -> Self {
        Errors {
            found: RefCell::default(),
            whole: true,
        }
    }

    /// Of what is left of a file whose damaged lines are taken out: what is missing may stand on one of those.
    pub fn of_remains() -> Self {
        Errors {
            whole: false,
            ..Errors::of_whole()
        }
    }

    /// Takes an error that what is there proves.
    pub fn add(&self, error: Diagnostic) {
        self.found.borrow_mut().push(error);
    }

    /// Takes an error that holds only if nothing else is in the file.
    pub fn add_absence(&self, error: Diagnostic) {
        if self.whole {
            self.add(error);
        }
    }

    /// All of them.
    pub fn into_inner(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}

/// A value of the file with its place.
pub type Value<'i> = Spanned<DeValue<'i>>;

/// One table of the file. Unknown and reserved keys are reported when it is opened; a value that cannot be read is
/// reported and then counts as absent.
pub struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    section: &'static Section,
    /// Where the table begins, for what is missing in it.
    pub place: Span,
    errors: &'a Errors,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// Opens `table`, which must have no keys but those of `section`.
    pub fn open(
        section: &'static Section,
        table: &'a DeTable<'i>,
        place: Span,
        errors: &'a Errors,
    ) -> Self {
        for name in table.keys() {
            match section.key(name.get_ref()) {
                None => errors.add(unknown_key(section, name)),
                Some(key) if key.presence == Presence::Reserved => errors.add(
                    Diagnostic::at(&name.span(), format!("`{}` {NOT_SUPPORTED}", key.name))
                        .help("remove it"),
                ),
                Some(_) => {}
            }
        }
        Fields {
            table,
            section,
            place,
            errors,
        }
    }

    /// Where errors go.
    pub fn errors(&self) -> &'a Errors {
        self.errors
    }

    /// The raw value of `name`, where it is there.
    pub fn raw(&self, name: &str) -> Option<&'a Value<'i>> {
        self.table.get(name)
    }

    /// Where the key `name` is written, where it is there.
    pub fn key_place(&self, name: &str) -> Option<Span> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Whether `name` is absent or an empty list.
    pub fn is_empty(&self, name: &str) -> bool {
        self.raw(name).is_none_or(|value| {
            let list = value.get_ref().as_array();
            list.is_some_and(|list| list.is_empty())
        })
    }

    /// `name`, read by `read`.
    pub fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Reject>,
    ) -> Option<Placed<T>> {
        self.read(name, self.raw(name)?, read)
    }

    /// `name`, read by `read`; an error if it is absent.
    pub fn must<T>(
        &self,
        name: &str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Reject>,
    ) -> Option<Placed<T>> {
        self.demand(name);
        self.get(name, read)
    }

    /// `name`, read by `read`, or `default`.
    pub fn get_or<T>(
        &self,
        name: &str,
        default: T,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Reject>,
    ) -> T {
        self.get(name, read).map_or(default, |found| found.value)
    }

    /// An integer of `range`, or `default`.
    pub fn integer_or<T: TryFrom<u64>>(
        &self,
        name: &str,
        default: T,
        range: RangeInclusive<u64>,
    ) -> T {
        self.get_or(name, default, |value| integer(value, range))
    }

    /// One of the words of `built`; a reserved word of the schema is "not supported in this version".
    pub fn word<T: Copy>(&self, name: &str, built: &[(&str, T)]) -> Option<T> {
        Some(self.placed_word(name, built)?.value)
    }

    /// Like [`Fields::word`], with its place.
    pub fn placed_word<T: Copy>(&self, name: &str, built: &[(&str, T)]) -> Option<Placed<T>> {
        self.get(name, |value| word(self.key(name), value, built))
    }

    /// The list `name`, every element read by `read`; `None` if it is absent or no list.
    pub fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&DeValue<'i>) -> Result<T, Reject>,
    ) -> Option<Placed<Vec<Placed<T>>>> {
        let value = self.raw(name)?;
        let Some(items) = value.get_ref().as_array() else {
            let reject = Reject::of_type(value.get_ref(), "a list");
            let reject = match value.get_ref() {
                one if read(one).is_err() => reject,
                DeValue::String(one) => reject.help(&format!("write `{name} = [{one:?}]`")),
                DeValue::Integer(one) => reject.help(&format!("write `{name} = [{one}]`")),
                _ => reject,
            };
            self.errors.add(reject.at(name, &value.span()));
            return None;
        };
        let value_span = value.span();
        let items = items
            .iter()
            .filter_map(|item| self.read(name, item, &read))
            .collect();
        Some(Placed {
            value: items,
            span: value_span,
        })
    }

    /// The table `name`.
    pub fn table(&self, name: &str, section: &'static Section) -> Option<Fields<'a, 'i>> {
        let value = self.raw(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::open(section, table, value.span(), self.errors)),
            other => {
                let reject = match self.key(name).map(|key| key.presence) {
                    Some(Presence::Required(example)) => {
                        Reject::of_type(other, "a table").help(&format!("such as `{example}`"))
                    }
                    _ => Reject::of_type(other, &format!("a table, `{}`", section.header)),
                };
                self.errors.add(reject.at(name, &value.span()));
                None
            }
        }
    }

    /// The tables `[[name]]`; none if it is absent.
    pub fn tables(&self, name: &str, section: &'static Section) -> Vec<Fields<'a, 'i>> {
        let Some(value) = self.raw(name) else {
            return Vec::new();
        };
        let expected = format!("a list of tables, `{}`", section.header);
        let Some(items) = value.get_ref().as_array() else {
            let reject = Reject::of_type(value.get_ref(), &expected).help_if(
                value.get_ref().is_table(),
                &format!("write `{}`, with double brackets", section.header),
            );
            self.errors.add(reject.at(name, &value.span()));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Fields::open(section, table, item.span(), self.errors));
                }
                other => self
                    .errors
                    .add(Reject::of_type(other, &expected).at(name, &item.span())),
            }
        }
        tables
    }

    /// Reports that `name` is not there, if it is not.
    pub fn demand(&self, name: &str) {
        let example = match self.key(name).map(|key| key.presence) {
            Some(Presence::Required(example)) => format!("such as `{example}`"),
            Some(Presence::Default(_) | Presence::Reserved) | None => format!("add `{name}`"),
        };
        self.demand_with(name, example);
    }

    /// Like [`Fields::demand`], with help of the caller's.
    pub fn demand_with(&self, name: &str, help: String) {
        if self.raw(name).is_some() || self.is_misspelt(name) {
            return;
        }
        self.errors.add_absence(
            Diagnostic::at(&self.place, format!("missing key `{name}`"))
                .label(format!("`{name}` belongs here"))
                .help(help),
        );
    }

    /// Whether an unknown key, which has been reported, probably means `name`.
    fn is_misspelt(&self, name: &str) -> bool {
        let unknown = |written: &str| self.section.key(written).is_none();
        self.table
            .keys()
            .map(|key| key.get_ref().as_ref())
            .any(|written| unknown(written) && meant(self.section, written) == Some(name))
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.section.key(name)
    }

    fn read<T>(
        &self,
        name: &str,
        value: &Value<'i>,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Reject>,
    ) -> Option<Placed<T>> {
        match read(value.get_ref()) {
            Ok(read) => Some(Placed {
                value: read,
                span: value.span(),
            }),
            Err(reject) => {
                self.errors.add(reject.at(name, &value.span()));
                None
            }
        }
    }
}

/// How everything ends that is known and not there yet.
pub const NOT_SUPPORTED: &str = "is not supported in this version";

fn unknown_key(section: &Section, name: &Spanned<impl AsRef<str>>) -> Diagnostic {
    let written = name.get_ref().as_ref();
    let error = Diagnostic::at(
        &name.span(),
        format!("unknown key `{}`", written.escape_debug()),
    );
    if let Some(meant) = meant(section, written) {
        return error.help(format!("did you mean `{meant}`?"));
    }
    let homes: Vec<String> = SECTIONS
        .iter()
        .filter(|other| other.key(written).is_some())
        .map(|other| match other.header {
            "" => "the top of the file".to_owned(),
            header => format!("`{header}`"),
        })
        .collect();
    if !homes.is_empty() {
        return error.help(format!("`{written}` belongs in {}", homes.join(" or ")));
    }
    let known: Vec<&str> = section.built().map(|key| key.name).collect();
    error.help(format!("known here: {}", known.join(", ")))
}

/// The key of `section` that `written` is nearest to.
fn meant(section: &Section, written: &str) -> Option<&'static str> {
    nearest(written, section.keys.iter().map(|key| key.name))
}

fn word<T: Copy>(
    key: Option<&'static Key>,
    value: &DeValue<'_>,
    built: &[(&str, T)],
) -> Result<T, Reject> {
    let words: Vec<&str> = built.iter().map(|(word, _)| *word).collect();
    let expected = words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(" or ");
    let Some(written) = value.as_str() else {
        return Err(Reject::of_type(value, &expected));
    };
    if let Some((_, meant)) = built.iter().find(|(word, _)| *word == written) {
        return Ok(*meant);
    }
    if key.is_some_and(|key| key.reserved.contains(&written)) {
        return Err(Reject::not_supported(&format!("\"{written}\""))
            .help(&format!("this version has {expected}")));
    }
    let reject = Reject::value(&format!("must be {expected}"));
    Err(match nearest(written, words.iter().copied()) {
        Some(meant) => reject.help(&format!("did you mean \"{meant}\"?")),
        None => reject,
    })
}
