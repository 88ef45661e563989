import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { changePassword } from '../core/password-changes.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, bearer, bearerProblems, exampleFault, Message, NewPassword, Password, passwordProblems, problemAnswers } from '../schemas.ts';

const ChangePasswordBody = Type.Object({ old_password: Password, new_password: NewPassword }, {
  additionalProperties: false,
  examples: [{ old_password: 'securepassword123', new_password: 'newSecurePassword123' }],
});

const changeProblems = [
  problems.invalidCredentials(), problems.invalidInput([{ pointer: '/new_password', detail: exampleFault }]), ...bearerProblems, ...passwordProblems,
];

/** The change of the password. */
const passwordRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/change-password', {
    config,
    schema: {
      tags: ['auth'], operationId: 'changePassword', summary: 'Change the password', security: bearer, body: ChangePasswordBody,
      description: 'Ends every other session of the user; this one stays.',
      response: { 200: answer(Message, 'changed', { msg: 'Password changed successfully' }), ...problemAnswers(...changeProblems) },
    },
    preParsing: app.authenticate,
  }, async (request) => {
    const { user, session } = request.auth;
    const { old_password: oldPassword, new_password: newPassword } = request.body;
    const result = await changePassword(app, user, session.id, { oldPassword, newPassword });
    if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/new_password', detail: result.fault }]);
    if (result.outcome === 'wrong_password') {
      request.log.warn({ event: 'password_change_refused', user_id: user.id, ip: request.ip }, 'refused a change of password');
      throw problems.invalidCredentials();
    }
    request.log.info({ event: 'password_changed', user_id: user.id, sessions_ended: result.ended, ip: request.ip }, 'changed the password');
    return { msg: 'Password changed successfully' };
  });
};
export default passwordRoutes;
