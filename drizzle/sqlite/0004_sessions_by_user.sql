DROP INDEX `sessions_user_id`;--> statement-breakpoint
DROP INDEX `sessions_of_user`;--> statement-breakpoint
CREATE INDEX `sessions_by_user` ON `sessions` (`user_id`,`revoked_at`,`created_at`,`id`);