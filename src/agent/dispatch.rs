//! From a request to the function that answers it; must hold no work of its own.

use std::path::Path;

use dbmig_wire::{ErrorKind, ForgetStandby, MakePrimary, MakeStandby, Request};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Result, fail};
use crate::report::Report;
use crate::{alone, data_directory, database, dump, environment, file, punch, replace, restore, swap};

/// Answers one request.
pub(crate) fn answer(request: &Request, report: &dyn Report) -> Result<Value> {
    let _alone = match request {
        Request::Alone(call) => alone::with(&call.database, report)?,
        Request::Rebuild(call) => alone::with(&call.database, report)?,
        Request::Verify(call) => alone::with(&call.database, report)?,
        Request::Swap(call) => alone::with(&call.database, report)?,
        Request::Replace(call) => alone::with(&call.database, report)?,
        Request::Restore(call) => alone::with(&call.database, report)?,
        Request::Alter(call) => alone::with(&call.database, report)?,
        Request::MakePrimary(MakePrimary { path, .. })
        | Request::MakeStandby(MakeStandby { path, .. })
        | Request::ForgetStandby(ForgetStandby { path, .. }) => alone::with(&format!("{path}/PG_VERSION"), report)?,
        _ => None,
    };
    match request {
        Request::Find(call) => value(file::find(call, report)),
        Request::Stat(call) => value(file::stat(call, report)),
        Request::Read(call) => value(file::read(call, report)),
        Request::Environment(call) => value(environment::environment(call, report)),
        Request::Alone(_) => Ok(Value::Null), // It is, by now.
        Request::Remove(call) => value(file::remove(call, report)),
        Request::Copy(call) => value(file::copy(call, report)),
        Request::Inspect(call) => value(database::inspect(call, report)),
        Request::Query(call) => value(database::query(call, report)),
        Request::Alter(call) => value(database::alter(call, report)),
        Request::Measure(call) => value(database::measure(call, report)),
        Request::Replay(call) => value(database::replay(call, report)),
        Request::Settle(call) => value(database::settle(call, report)),
        Request::Punch(call) => value(punch::punch(call, report)),
        Request::Rebuild(call) => value(database::rebuild(call, report)),
        Request::Verify(call) => value(database::verify(call, report)),
        Request::Swap(call) => value(swap::swap(call, report)),
        Request::Replace(call) => value(replace::replace(call, report)),
        Request::Since(call) => value(database::rows_written_since(Path::new(&call.old), Path::new(&call.new))),
        Request::Restore(call) => value(restore::restore(call, report)),
        Request::ReadDataDirectory(call) => value(data_directory::read(call, report)),
        Request::MakePrimary(call) => value(data_directory::make_primary(call, report)),
        Request::MakeStandby(call) => value(data_directory::make_standby(call, report)),
        Request::ForgetStandby(call) => value(data_directory::forget_standby(call, report)),
        Request::Backup(call) => value(database::backup(call, report)),
        Request::Dump(call) => value(dump::dump(call, report)),
    }
}

fn value(reply: Result<impl Serialize>) -> Result<Value> {
    serde_json::to_value(reply?).map_err(|_| fail(ErrorKind::Other, "the answer cannot be written as JSON"))
}
