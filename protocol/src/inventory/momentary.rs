// SPDX-License-Identifier: Apache-2.0
//! What an inventory says of the moment in which it was made. It is different each time, so it is kept
//! apart from what is worth a history, and is no reason to send an inventory.

use super::{
    element::elements,
    model::Content,
    software::{Process, Variable},
};

elements! {
    /// What is different each time.
    Momentary {
        /// When the inventory was made, as it says.
        log_date: Option<String> = "LOGDATE",
        /// When the system was started.
        boot_time: Option<String> = "BOOT_TIME",
        /// When somebody last logged in.
        last_login: Option<String> = "DATELASTLOGGEDUSER",
        /// Who that was.
        last_user: Option<String> = "LASTLOGGEDUSER",
        /// Accounts that are logged in, separated by slashes.
        logged_in: Option<String> = "USERID",
        /// Seconds that making the inventory took.
        duration: Option<u64> = "ETIME",
        /// Free space of file systems.
        free_space: Vec<FreeSpace> = "DRIVES",
        /// Environment of the program that made the inventory.
        environment: Vec<Variable> = "ENVS",
        /// Running processes.
        processes: Vec<Process> = "PROCESSES",
    }

    /// Free space of a file system.
    FreeSpace {
        /// Where it is mounted, or its drive letter.
        mounted_on: Option<String> = "TYPE",
        /// Free space, in MB.
        free: Option<u64> = "FREE",
    }
}

impl Content {
    /// Takes out what is different each time.
    pub fn take_momentary(&mut self) -> Momentary {
        let hardware = self.hardware.get_or_insert_default();
        let momentary = Momentary {
            log_date: self.access_log.take().and_then(|log| log.log_date),
            boot_time: self.operating_system.as_mut().and_then(|system| system.boot_time.take()),
            last_login: hardware.last_login.take(),
            last_user: hardware.last_user.take(),
            logged_in: hardware.logged_in.take(),
            duration: hardware.duration.take(),
            free_space: Vec::new(),
            environment: std::mem::take(&mut self.environment),
            processes: std::mem::take(&mut self.processes),
        };
        if *hardware == Default::default() {
            self.hardware = None;
        }
        let free = |drive: &mut super::hardware::Drive| FreeSpace {
            free: drive.free.take(),
            mounted_on: drive.mounted_on.clone().or_else(|| drive.letter.clone()),
        };
        let free_space = self.drives.iter_mut().filter(|drive| drive.free.is_some()).map(free).collect();
        Momentary { free_space, ..momentary }
    }
}
