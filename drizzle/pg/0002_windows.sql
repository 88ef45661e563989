-- Every session ends: the refresh tokens of before carry no MAC, and are of no use any more.
DELETE FROM "sessions";--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "window_started_at" bigint NOT NULL;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "window_generation" bigint NOT NULL;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "previous_generation" bigint NOT NULL;--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN "last_signed_in_at" bigint;--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN "verify_by" bigint;--> statement-breakpoint
CREATE INDEX "sessions_of_user" ON "sessions" USING btree ("user_id","created_at","id") WHERE revoked_at IS NULL;--> statement-breakpoint
CREATE INDEX "users_verify_by" ON "users" USING btree ("verify_by") WHERE verify_by IS NOT NULL;--> statement-breakpoint
ALTER TABLE "sessions" DROP COLUMN "burst_generation";