//! JSON of plain Python values, written in one step: Python's own encoder looks at each character of a text by itself,
//! and takes most of the time of a capture by hand.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use pyo3::PyTypeInfo as _;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Deeper is Python's encoder's to look at.
const DEEPEST: usize = 48;

/// Longer texts that are not ASCII are not asked for their UTF-8, for they would keep it for as long as they live.
const KEEPS_ITS_UTF8: usize = 64;

/// A buffer for texts is kept for the next one unless it grew larger.
const KEPT: usize = 64 << 10;

/// The JSON of members. `None` when there is a value that is not of JSON's own types, or that JSON or the core does not
/// take as it is; what there is to do about those is decided in Python.
pub(crate) fn of_members(members: &Bound<'_, PyDict>) -> Option<String> {
    thread_local! {
        static ROOM: RefCell<String> = const { RefCell::new(String::new()) };
    }
    // Nothing that is called here runs code of the application's, so nobody else has it. Where that is wrong after all, or
    // the thread is at its end, it is Python's to write.
    let write = |room: &RefCell<String>| {
        let mut room = room.try_borrow_mut().ok()?;
        room.clear();
        let mut writer = Writer { out: &mut room, around: Vec::new() };
        let written = writer.members(members);
        let text = written.map(|()| room.clone());
        if room.capacity() > KEPT {
            *room = String::new();
        }
        text
    };
    ROOM.try_with(write).ok()?
}

struct Writer<'a> {
    out: &'a mut String,
    /// The lists and dictionaries that this is inside of.
    around: Vec<*mut pyo3::ffi::PyObject>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Bound<'_, PyAny>) -> Option<()> {
        let kind = value.get_type_ptr();
        let py = value.py();
        // Subclasses may write themselves otherwise, so only the types themselves are taken.
        if kind == PyString::type_object_raw(py) {
            self.text(value.cast::<PyString>().ok()?)?;
        } else if value.is_none() {
            self.out.push_str("null");
        } else if kind == PyBool::type_object_raw(py) {
            self.out.push_str(if value.cast::<PyBool>().ok()?.is_true() { "true" } else { "false" });
        } else if kind == PyInt::type_object_raw(py) {
            match value.extract::<i64>() {
                Ok(number) => write!(self.out, "{number}"),
                Err(_) => write!(self.out, "{}", value.extract::<u64>().ok()?),
            }
            .ok()?;
        } else if kind == PyFloat::type_object_raw(py) {
            let number = Some(value.cast::<PyFloat>().ok()?.value()).filter(|number| number.is_finite())?;
            write!(self.out, "{number:?}").ok()?;
        } else if kind == PyDict::type_object_raw(py) {
            self.inside(value, |writer| writer.members(value.cast::<PyDict>().ok()?))?;
        } else if kind == PyList::type_object_raw(py) {
            self.inside(value, |writer| writer.list(value.cast::<PyList>().ok()?.iter()))?;
        } else if kind == PyTuple::type_object_raw(py) {
            self.inside(value, |writer| writer.list(value.cast::<PyTuple>().ok()?.iter()))?;
        } else {
            return None;
        }
        Some(())
    }

    fn inside(&mut self, value: &Bound<'_, PyAny>, write: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.around.len() >= DEEPEST || self.around.contains(&value.as_ptr()) {
            return None;
        }
        self.around.push(value.as_ptr());
        write(self)?;
        self.around.pop();
        Some(())
    }

    fn members(&mut self, members: &Bound<'_, PyDict>) -> Option<()> {
        self.out.push('{');
        let (writer, first, whole) = (RefCell::new(&mut *self), Cell::new(true), Cell::new(true));
        // Locked, so that on a Python without the GIL no other thread changes it meanwhile.
        let each = members.locked_for_each(|key, value| {
            let written = whole.get() && writer.borrow_mut().member(first.take(), &key, &value).is_some();
            whole.set(written);
            Ok(())
        });
        each.ok().filter(|()| whole.get())?;
        self.out.push('}');
        Some(())
    }

    fn member(&mut self, first: bool, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Option<()> {
        if !first {
            self.out.push(',');
        }
        if key.get_type_ptr() != PyString::type_object_raw(key.py()) {
            return None;
        }
        self.text(key.cast::<PyString>().ok()?)?;
        self.out.push(':');
        self.value(value)
    }

    fn list<'py>(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>) -> Option<()> {
        self.out.push('[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.value(&item)?;
        }
        self.out.push(']');
        Some(())
    }

    fn text(&mut self, text: &Bound<'_, PyString>) -> Option<()> {
        let is_ascii = || text.call_method0(intern!(text.py(), "isascii")).and_then(|is| is.is_truthy());
        if text.len().ok()? <= KEEPS_ITS_UTF8 || is_ascii().ok()? {
            llmtrail::quote(text.to_str().ok()?, self.out);
        } else {
            let bytes = text.encode_utf8().ok()?;
            llmtrail::quote(std::str::from_utf8(bytes.as_bytes()).ok()?, self.out);
        }
        Some(())
    }
}
