-- Every session ends: the refresh tokens of before carry no MAC, and are of no use any more.
DELETE FROM `sessions`;--> statement-breakpoint
ALTER TABLE `sessions` ADD `window_started_at` integer NOT NULL;--> statement-breakpoint
ALTER TABLE `sessions` ADD `window_generation` integer NOT NULL;--> statement-breakpoint
ALTER TABLE `sessions` ADD `previous_generation` integer NOT NULL;--> statement-breakpoint
CREATE INDEX `sessions_of_user` ON `sessions` (`user_id`,`created_at`,`id`) WHERE revoked_at IS NULL;--> statement-breakpoint
ALTER TABLE `sessions` DROP COLUMN `burst_generation`;--> statement-breakpoint
ALTER TABLE `users` ADD `last_signed_in_at` integer;--> statement-breakpoint
ALTER TABLE `users` ADD `verify_by` integer;--> statement-breakpoint
CREATE INDEX `users_verify_by` ON `users` (`verify_by`) WHERE verify_by IS NOT NULL;