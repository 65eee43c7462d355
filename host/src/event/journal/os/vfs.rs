//! A [`Disk`] as SQLite's file layer.
#![allow(
    unsafe_code,
    reason = "SQLite calls a file layer through C function pointers; each gets the pointers that it was registered or opened with"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::slice;

use rusqlite::ffi;

use super::disk::Disk;

/// An open file. SQLite allocates it and knows the beginning.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    /// From a `Box`, which [`close`] takes back.
    handle: *mut Handle,
}

struct Handle {
    disk: &'static Disk,
    name: String,
}

/// No shared memory: a journal is open once, so it needs none.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes `disk` known under `name`.
pub(super) fn register(name: &str, disk: &'static Disk) {
    let name = CString::new(name).unwrap().into_raw();
    // SAFETY: the usual file layer is there for as long as the process, and only its functions for time and random numbers are
    // taken, which do not look at which layer they are called for. What is registered is never freed, as SQLite asks.
    unsafe {
        let usual = *ffi::sqlite3_vfs_find(null());
        let layer = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: 512,
            pNext: null_mut(),
            zName: name,
            pAppData: std::ptr::from_ref(disk).cast_mut().cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
            ..usual
        }));
        assert_eq!(ffi::sqlite3_vfs_register(layer, 0), ffi::SQLITE_OK);
    }
}

/// SAFETY: `layer` is what [`register`] gave SQLite.
unsafe fn disk(layer: *mut ffi::sqlite3_vfs) -> &'static Disk {
    unsafe { &*(*layer).pAppData.cast::<Disk>() }
}

/// SAFETY: `path` is a string of SQLite's, or null.
unsafe fn name(path: *const c_char) -> String {
    if path.is_null() {
        "temporary".to_owned()
    } else {
        unsafe { CStr::from_ptr(path) }.to_str().unwrap().to_owned()
    }
}

/// SAFETY: `file` was opened by [`open`], and is not closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    unsafe { &*(*file.cast::<OpenFile>()).handle }
}

unsafe extern "C" fn open(
    layer: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for an `OpenFile`, as `szOsFile` asks, and its own pointers.
    unsafe {
        let (disk, name) = (disk(layer), name(path));
        disk.create(&name);
        let handle = Box::into_raw(Box::new(Handle { disk, name }));
        file.cast::<OpenFile>().write(OpenFile { base: ffi::sqlite3_file { pMethods: &METHODS }, handle });
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(layer: *mut ffi::sqlite3_vfs, path: *const c_char, _: c_int) -> c_int {
    // SAFETY: SQLite's own pointers.
    let removed = unsafe { disk(layer).remove(&name(path)) };
    if removed { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_DELETE_NOENT }
}

unsafe extern "C" fn access(
    layer: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's own pointers.
    unsafe { *found = c_int::from(disk(layer).exists(&name(path))) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    to: *mut c_char,
) -> c_int {
    // SAFETY: `to` has room for so many bytes, and `path` is a string.
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if bytes.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        bytes.as_ptr().copy_to_nonoverlapping(to.cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: made by `open`, and SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: `to` has room for so many bytes.
    let (file, to) = unsafe { (handle(file), slice::from_raw_parts_mut(to.cast::<u8>(), length as usize)) };
    let read = file.disk.read(&file.name, at as usize, to);
    to[read..].fill(0);
    if read == to.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    // SAFETY: `from` has so many bytes.
    let (file, from) = unsafe { (handle(file), slice::from_raw_parts(from.cast::<u8>(), length as usize)) };
    match file.disk.write(&file.name, at as usize, from) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: an open file.
    let file = unsafe { handle(file) };
    file.disk.truncate(&file.name, length as usize);
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let file = unsafe { handle(file) };
    file.disk.sync(&file.name);
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file, and room for a number.
    unsafe {
        let file = handle(file);
        *size = file.disk.len(&file.name) as i64;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, is_locked: *mut c_int) -> c_int {
    // SAFETY: room for a number.
    unsafe { *is_locked = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// As the usual layer says of a disk: what is beside a write stays as it is.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}
